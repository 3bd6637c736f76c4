"""Tries to write where it should not, and to run what it wrote where it may."""

import errno
import os
import subprocess


def handler(event, context):
    return {"written": {path: _write(path) for path in event["paths"]}, "run_from_tmp": _run_from_tmp()}


def _write(path):
    try:
        with open(path, "w") as file:
            file.write("marker")
    except OSError as error:
        return errno.errorcode[error.errno]
    return "written"


def _run_from_tmp():
    with open("/tmp/script.sh", "w") as file:
        file.write("#!/bin/sh\necho ran\n")
    os.chmod("/tmp/script.sh", 0o755)
    try:
        return subprocess.run(["/tmp/script.sh"], capture_output=True, text=True, check=False).stdout.strip()
    except OSError as error:
        return errno.errorcode[error.errno]
