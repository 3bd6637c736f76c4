"""What can go wrong that a caller can do something about; the class names are part of the function contract."""


class InvalidParameters(ValueError):
    """The parameters were refused. Each line of the message is `/pointer/into/parameters: what is wrong`."""

    def __init__(self, *lines: str):
        super().__init__("\n".join(lines))


class ModelNotFound(LookupError):
    """There is no such model, version or alias; the message, `/parameter: words`, names what there is."""


class UnsupportedModel(RuntimeError):
    """The model exists, but is not of a kind that is loaded here."""


class DependencyUnavailable(RuntimeError):
    """MLflow could not be reached."""
