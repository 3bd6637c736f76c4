"""Its function.yaml makes no sense."""


def handler(event, context):
    return "never"
