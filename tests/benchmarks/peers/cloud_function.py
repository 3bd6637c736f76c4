"""The forest as a function of functions-framework."""

import os

import functions_framework
import skops.io

FOREST = skops.io.load(os.environ["MODEL"], trusted=["sklearn.tree._tree.Tree"])
CLASSES = [str(name) for name in FOREST.classes_]


@functions_framework.http
def predict(request):
    shares = FOREST.predict_proba([request.get_json()["features"]])[0].tolist()
    probabilities = dict(zip(CLASSES, shares, strict=True))
    return {"prediction": max(probabilities, key=probabilities.get), "probabilities": probabilities}
