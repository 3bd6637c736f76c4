"""Code of functions that tests on the fake engine run."""

# Sleeps for `seconds`, and goes on until somebody makes the file `until`: see `Runner.until_woken`. What must still be
# going on when the test looks waits for the test, not for a time that a busy machine may take for less.
SLEEP = """
import os, time
def handler(event, context):
    time.sleep(event.get('seconds', 0))
    gives_up_at = time.monotonic() + 60
    while 'until' in event and not os.path.exists(event['until']) and time.monotonic() < gives_up_at:
        time.sleep(0.02)
    return 'slept'
"""
