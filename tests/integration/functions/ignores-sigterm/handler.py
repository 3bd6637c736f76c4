"""Does not stop when asked to, and takes longer than it may."""

import signal
import time


def handler(event, context):
    signal.signal(signal.SIGTERM, lambda *_: print("asked to stop, and will not", flush=True))
    ends = time.monotonic() + event["seconds"]
    while time.monotonic() < ends:
        print("working", flush=True)
        time.sleep(0.5)
    return {"worked": event["seconds"]}
