"""Returns a text of the wanted length."""


def handler(event, context):
    return {"text": "x" * event["bytes"]}
