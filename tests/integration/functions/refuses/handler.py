"""Refuses its parameters, or says that what they name does not exist."""


class InvalidParameters(Exception):
    pass


class SomethingNotFound(Exception):
    pass


def handler(event, context):
    if event["kind"] == "invalid":
        raise InvalidParameters("\n".join(event["lines"]))
    raise SomethingNotFound("There is no such thing. There are: this, that")
