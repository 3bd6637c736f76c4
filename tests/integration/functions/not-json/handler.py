"""Returns what JSON cannot hold."""

import math

RESULTS = {
    "object": object(),
    "set": {1, 2},
    "bytes": b"bytes",
    "nan": {"value": math.nan},
    "infinity": {"value": [math.inf]},
    "surrogate": {"value": "\ud800"},
}


def handler(event, context):
    return RESULTS[event["kind"]]
