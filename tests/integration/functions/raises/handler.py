"""Raises an exception of any name, from some depth."""


def handler(event, context):
    print("about to raise", flush=True)
    _deeper(event["type"], event["message"])


def _deeper(name, message):
    raise type(name, (Exception,), {})(message)
