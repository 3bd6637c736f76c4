"""The forest a second time, as an ONNX graph: predict computes it without scikit-learn, in a hundredth of the time.

A twin is kept only when it was seen to answer like its forest, on every row there is.
"""

import json
import os
from dataclasses import dataclass

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported, which else reports its use to its maker

import numpy as np
import onnxruntime
import pandas as pd
import skl2onnx  # at module level: every training needs it, and a waiting container imports it at nobody's expense
from onnx.helper import set_model_props
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.sklapi import CastTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline

from dataset import Split

OPSET = {"": 18, "ai.onnx.ml": 3}  # pinned, so that a newer skl2onnx does not write what predict cannot read
LARGEST_DIFFERENCE = 1e-5  # between two probabilities


@dataclass(frozen=True)
class Twin:
    """An ONNX graph that answered like its forest, and what that was seen on."""

    content: bytes
    compared_rows: int
    largest_difference: float  # between two probabilities


def make_twin(forest: RandomForestClassifier, split: Split) -> Twin | None:
    """Return None, and print why, when the forest cannot be converted or the graph answers differently."""
    rows = pd.concat([split.train, split.test])
    try:
        content = _convert(forest)
        other_labels, difference = _compare(content, forest, rows)
    except Exception as error:  # noqa: BLE001 - the edge: whatever is wrong with its twin, the forest is worth keeping
        print("No ONNX twin:", *f"{type(error).__name__}: {error}".split(), flush=True)
        return None
    if other_labels or not difference <= LARGEST_DIFFERENCE:  # so that NaN is no agreement
        print(
            f"No ONNX twin: of {len(rows)} rows it labels {other_labels} differently, "
            f"and its probabilities differ by up to {difference:.1e}",
            flush=True,
        )
        return None
    print(f"ONNX twin: same labels for all {len(rows)} rows, probabilities within {difference:.1e}", flush=True)
    return Twin(content, len(rows), difference)


def _convert(forest: RandomForestClassifier) -> bytes:
    # A forest compares 32-bit floats and adds up 64-bit ones. Without the cast the graph would add up 32-bit floats as
    # well, and the probabilities of 2000 trees would be off by 2e-5 instead of 1e-7.
    as_computed = make_pipeline(CastTransformer(dtype=np.float64), forest)
    features = FloatTensorType([None, forest.n_features_in_])
    model = skl2onnx.convert_sklearn(
        as_computed,
        name="forest",
        initial_types=[("features", features)],
        options={"zipmap": False},  # one table of probabilities, not a dictionary for each row
        target_opset=OPSET,
    )
    # The table has no headings, so the graph carries them along.
    set_model_props(model, {"classes": json.dumps(forest.classes_.tolist())})
    return model.SerializeToString()


def _compare(content: bytes, forest: RandomForestClassifier, rows: pd.DataFrame) -> tuple[int, float]:
    """How many rows get another label, and the largest difference between two probabilities."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # as in predict
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    labels, shares = session.run(None, {"features": rows.to_numpy(np.float32)})
    other_labels = int((labels != forest.predict(rows)).sum())
    return other_labels, float(np.abs(shares - forest.predict_proba(rows)).max())
