"""A function of only a Dockerfile and a handler (and what the handler needs)."""


def handler(event, context):
    return {"received": event}
