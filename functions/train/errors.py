"""What can go wrong that a caller can do something about; the class names are part of the function contract."""


class InvalidParameters(ValueError):
    """The parameters were refused. Each line of the message is `/pointer/into/parameters: what is wrong`."""

    def __init__(self, *lines: str):
        super().__init__("\n".join(lines))


class DependencyUnavailable(RuntimeError):
    """MLflow could not be reached, so nothing can be recorded."""
