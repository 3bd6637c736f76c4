"""Returns what it was given."""


def handler(event, context):
    print("echo", context.aws_request_id)
    return event
