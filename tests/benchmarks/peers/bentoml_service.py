"""The forest as a BentoML service."""

import os

import bentoml
import skops.io


@bentoml.service(workers=1)
class Iris:
    """Loads the model once."""

    def __init__(self) -> None:
        self.forest = skops.io.load(os.environ["MODEL"], trusted=["sklearn.tree._tree.Tree"])
        self.classes = [str(name) for name in self.forest.classes_]

    @bentoml.api
    def predict(self, features: list[float]) -> dict:
        shares = self.forest.predict_proba([features])[0].tolist()
        probabilities = dict(zip(self.classes, shares, strict=True))
        return {"prediction": max(probabilities, key=probabilities.get), "probabilities": probabilities}
