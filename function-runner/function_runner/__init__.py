"""The function runner: runs every invocation of a function in its own fresh container."""

__version__ = "0.1.0"
