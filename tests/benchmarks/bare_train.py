"""Runs in a container of train's image: for each line that comes in, train once in a new process and tell the times."""

import json
import subprocess
import sys
import time

# A new id each time: what was trained for an invocation once is not trained for it again.
ONE_TRAINING = """
import json, sys, time, uuid

class Context:
    aws_request_id = str(uuid.uuid4())

import handler
began = time.perf_counter()
handler.handler(json.loads(sys.argv[1]), Context)
print(json.dumps(time.perf_counter() - began))
"""

for _ in sys.stdin:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", ONE_TRAINING, sys.argv[1]], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(done.stderr)
    seconds = time.perf_counter() - began
    handler_seconds = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps({"seconds": seconds, "handler_seconds": handler_seconds}), flush=True)
