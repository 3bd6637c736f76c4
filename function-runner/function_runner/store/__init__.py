"""The record: one durable row for every accepted invocation, in SQLite by default or in Postgres.

Every change of state is one conditional UPDATE whose row count decides: where several may try (result, timeout,
cancellation, crash recovery), the first terminal state wins and the others learn that they lost. Triggers of the
database refuse what this module would never do (see ``migrations``), so that the rules hold for every writer, and
write the history of states, so that the history cannot disagree with the rows.
"""

from function_runner.store.encoding import digest
from function_runner.store.record import Store
from function_runner.store.search import Wanted
from function_runner.store.values import (
    AliasAction,
    AliasMove,
    AlreadyHandled,
    DueCallback,
    End,
    LogOnRecord,
    Maker,
    Removal,
    Repeated,
    StoreSize,
)

__all__ = [
    "AliasAction",
    "AliasMove",
    "AlreadyHandled",
    "DueCallback",
    "End",
    "LogOnRecord",
    "Maker",
    "Removal",
    "Repeated",
    "Store",
    "StoreSize",
    "Wanted",
    "digest",
]
