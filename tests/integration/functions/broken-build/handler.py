"""Its image cannot be built."""


def handler(event, context):
    return "never"
