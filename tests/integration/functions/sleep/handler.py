"""Takes its time."""

import time


def handler(event, context):
    print(f"sleeping {event['seconds']} s", flush=True)
    time.sleep(event["seconds"])
    print("awake", flush=True)
    return {"slept": event["seconds"]}
