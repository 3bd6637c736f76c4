"""Log files: ``logs/{container_name}.log``, written as the output arrives, and build logs below ``logs/builds/``.

A container that has no invocation yet writes to ``logs/.ready/``: the file gets its place in ``logs/`` together with
the invocation, so that everything there is the log of one, and a container that was never used leaves nothing.

A container chooses what it prints, so everything here is bounded and nothing is trusted: names are checked, files are
opened below the folder without following links, and a full disk costs the output and never the invocation.
"""

from function_runner.logs.catching_up import missing_output
from function_runner.logs.file import BLOCK, BuildLog, LogFile, LogSummary, start_line
from function_runner.logs.part import LogPart
from function_runner.logs.store import LogStore, StoredLog

__all__ = [
    "BLOCK",
    "BuildLog",
    "LogFile",
    "LogPart",
    "LogStore",
    "LogSummary",
    "StoredLog",
    "missing_output",
    "start_line",
]
