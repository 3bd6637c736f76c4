"""From rows to what the rest of the house talks about."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, Select, select

from function_runner.invocation import (
    Callback,
    CallbackState,
    Invocation,
    LogState,
    Mode,
    Progress,
    Start,
    Status,
    Timings,
)
from function_runner.store.tables import (
    CALLBACK_COLUMNS,
    FACTS,
    MLFLOW_COLUMNS,
    callbacks,
    invocation_facts,
    invocations,
)
from function_runner.store.values import AliasAction, AliasMove


def select_records() -> Select[Any]:
    """The query of all records, with what is known of their containers and callbacks; see `as_invocation`."""
    facts = [invocation_facts.c[name] for name in FACTS]
    told = [callbacks.c[name].label(f"callback_{name}") for name in CALLBACK_COLUMNS]
    return (
        select(invocations, *facts, *told)
        .outerjoin(invocation_facts, invocation_facts.c.invocation_id == invocations.c.id)
        .outerjoin(callbacks, callbacks.c.invocation_id == invocations.c.id)
    )


def as_invocation(row: RowMapping) -> Invocation:
    """One row of `select_records`."""
    values = {entry.name: row[entry.name] for entry in fields(Invocation) if entry.name in row}
    mlflow = {key: row[column] for key, column in MLFLOW_COLUMNS.items() if row[column] is not None}
    values |= {
        "status": Status(row["status"]),
        "mode": Mode(row["mode"]),
        "start": row["start"] and Start(row["start"]),
        "timings": Timings(**{entry.name: row[entry.name] for entry in fields(Timings)}),
        "mlflow": mlflow or None,
        "callback": _callback(row) if row["callback_state"] is not None else None,
        # Before anything is noted of the log of a container, it is being written.
        "log_state": LogState(row["log_state"] or LogState.OPEN) if row["container_name"] else None,
        "progress": _progress(row["progress"], row["started_at"]),
    }
    return Invocation(**values)


def _progress(said: Mapping[str, Any] | None, started_at: datetime | None) -> Progress | None:
    """What was said since the invocation was handed over: not by an earlier attempt."""
    if said is None or started_at is None:
        return None
    progress = Progress(**{**said, "at": datetime.fromisoformat(said["at"])})
    return progress if progress.at >= started_at else None


def as_alias_move(row: RowMapping) -> AliasMove:
    """One row of the table ``alias_moves``."""
    values = {entry.name: row[entry.name] for entry in fields(AliasMove)}
    return AliasMove(**values | {"action": AliasAction(row["action"])})


def _callback(row: RowMapping) -> Callback:
    told = {name: row[f"callback_{name}"] for name in CALLBACK_COLUMNS}
    return Callback(url=row["callback_url"], **{**told, "state": CallbackState(told["state"])})
