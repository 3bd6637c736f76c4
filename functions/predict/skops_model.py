"""scikit-learn models stored by skops: only types that skops knows, or that are listed here, are ever created."""

import io
import warnings
import zipfile
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sklearn.ensemble  # noqa: F401 - the usual estimators, which skops would import one by one
import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from errors import UnsupportedModel
from features import Row
from prediction import Prediction

# What scikit-learn's own estimators are made of and skops does not trust by itself. Our list: never the model's.
TRUSTED_TYPES = [
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
]
MAX_UNPACKED_BYTES = 1024 * 1024 * 1024


@dataclass(frozen=True)
class SkopsModel:
    """A loaded estimator."""

    model_format: ClassVar[str] = "skops"

    estimator: Any

    @classmethod
    def from_bytes(cls, content: bytes, uri: str) -> "SkopsModel":
        """Load without a file and without pickle. Raises UnsupportedModel for anything but a known estimator."""
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
        except zipfile.BadZipFile as error:
            raise UnsupportedModel(f"The model file of {uri} is not a skops file") from error
        if unpacked > MAX_UNPACKED_BYTES:
            raise UnsupportedModel(f"The model file of {uri} unpacks to {unpacked} bytes, which is too much")
        try:
            with warnings.catch_warnings():
                # Saved by another version of scikit-learn: say so in the log, and go on as scikit-learn does.
                warnings.simplefilter("default")
                estimator = skops.io.loads(content, trusted=TRUSTED_TYPES)
        except UntrustedTypesFoundException as error:
            raise UnsupportedModel(f"{uri} contains types that are not trusted here: {error}") from error
        except Exception as error:  # skops and the constructors it calls raise anything when a file is damaged
            raise UnsupportedModel(f"{uri} cannot be loaded: {type(error).__name__}: {error}") from error
        if not hasattr(estimator, "predict"):
            raise UnsupportedModel(f"{uri} is a {type(estimator).__name__}, which does not predict")
        return cls(estimator)

    def predict(self, rows: list[Row]) -> Prediction:
        """Predict labels or, for a regressor, numbers; probabilities where the estimator gives them."""
        values = np.array(rows, dtype=object if any(isinstance(value, str) for row in rows for value in row) else float)
        with warnings.catch_warnings():
            # The columns were put into the order of the signature: that they have no names here does not matter.
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            if not hasattr(self.estimator, "predict_proba"):
                return Prediction(self.estimator.predict(values).tolist(), None)
            shares = self.estimator.predict_proba(values)
            if isinstance(shares, list):
                raise UnsupportedModel("The model predicts several outputs at once; only one can be answered here")
            labels = self.estimator.predict(values).tolist()
        classes = [str(label) for label in self.estimator.classes_.tolist()]
        return Prediction(labels, [dict(zip(classes, row, strict=True)) for row in shares.tolist()])
