"""Classifiers stored as ONNX: a graph of arithmetic that ONNX Runtime computes. Nothing of scikit-learn is needed."""

import json
import os
from dataclasses import dataclass
from typing import ClassVar

# ONNX Runtime reports its use to its maker unless this is set before it is imported: the function that turns it off
# comes after the first report, and leaves the thread that sends it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime

from errors import UnsupportedModel
from features import Row, Signature
from prediction import Prediction

INPUT_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}
LABEL_TYPES = {"tensor(string)": str, "tensor(int64)": int}
FATAL = 4  # what ONNX Runtime has to say is in its exceptions, and need not be in the log as well
DIGITS = 7  # the graph answers in 32-bit floats, which know no more: 0.98 instead of 0.9800000190734863


@dataclass(frozen=True)
class OnnxModel:
    """A graph from one table of numbers to one label and the probability of each class, for each row."""

    model_format: ClassVar[str] = "onnx"

    session: onnxruntime.InferenceSession
    classes: list[str]  # in the order of the probabilities

    @classmethod
    def from_bytes(cls, content: bytes, signature: Signature, uri: str) -> "OnnxModel":
        """Load without a file. Raises UnsupportedModel for anything but a sound classifier for this signature."""
        if any(column.type == "string" for column in signature.columns):
            raise UnsupportedModel(f"The ONNX form of {uri} takes numbers, and the model has columns of text")
        # How a tensor names a file that holds its values: a model is the bytes that were fetched, and no other file.
        if b"\x08location" in content:
            raise UnsupportedModel(f"The ONNX form of {uri} refers to other files")
        try:
            model = cls._open(content, len(signature.columns))
            trial = model.predict([[0.0] * len(signature.columns)])
        except Exception as error:  # the runtime has a dozen exceptions with no root of their own
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UnsupportedModel(f"The ONNX form of {uri} cannot be used: {reason}") from error
        if str(trial.labels[0]) not in model.classes:
            raise UnsupportedModel(f"The ONNX form of {uri} answers {trial.labels[0]!r}, which is none of its classes")
        return model

    @classmethod
    def _open(cls, content: bytes, columns: int) -> "OnnxModel":
        options = onnxruntime.SessionOptions()
        # One row is computed faster than it is handed to another thread, and a container has one core.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False  # made for many calls; here there is one
        options.log_severity_level = FATAL
        # By itself the runtime would guess from the bytes, and its own format is not meant for bytes from elsewhere.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        # Operators that are not the runtime's own would need a library, and none is registered: they are refused.
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 2:
            raise ValueError(f"it has {len(inputs)} inputs and {len(outputs)} outputs, and is no classifier")
        (table,), (label, probabilities) = inputs, outputs
        if table.type not in INPUT_TYPES or len(table.shape) != 2 or table.shape[1] not in (columns, None):
            raise ValueError(f"it takes {table.type} of shape {table.shape}, not {columns} columns of numbers")
        if label.type not in LABEL_TYPES or probabilities.type not in INPUT_TYPES:
            raise ValueError(f"it answers {label.type} and {probabilities.type}, not a label and probabilities")
        classes = json.loads(session.get_modelmeta().custom_metadata_map.get("classes", "null"))
        if not isinstance(classes, list) or not all(isinstance(name, LABEL_TYPES[label.type]) for name in classes):
            raise ValueError("its metadata do not name its classes")
        return cls(session, [str(name) for name in classes])

    def predict(self, rows: list[Row]) -> Prediction:
        """Predict labels and probabilities."""
        table = self.session.get_inputs()[0]
        labels, shares = self.session.run(None, {table.name: np.array(rows, dtype=INPUT_TYPES[table.type])})
        shares = np.round(shares.astype(np.float64), DIGITS)
        return Prediction(labels.tolist(), [dict(zip(self.classes, row, strict=True)) for row in shares.tolist()])
