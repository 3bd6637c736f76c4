"""Reads memory that is not there."""

import ctypes


def handler(event, context):
    print("about to read address 0", flush=True)
    ctypes.string_at(0)
