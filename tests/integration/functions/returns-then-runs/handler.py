"""Returns at once, while a thread of it goes on."""

import threading
import time


def handler(event, context):
    threading.Thread(target=_go_on).start()
    return {"returned": True}


def _go_on():
    while True:
        print("still here", flush=True)
        time.sleep(0.2)
