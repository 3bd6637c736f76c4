"""Returns what it was given, and how long it was at work."""

import time


def handler(event, context):
    began = time.perf_counter()
    result = {"echo": event}
    print("echo", context.aws_request_id, flush=True)
    result["handler_ms"] = (time.perf_counter() - began) * 1000
    return result
