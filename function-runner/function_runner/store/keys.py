"""Idempotency keys: which invocation a key stands for, and until when."""

from sqlalchemy import ColumnElement, Connection, delete, insert, select

from function_runner.errors import IdempotencyKeyReused
from function_runner.invocation import IdempotencyKey, Invocation, utc_now
from function_runner.store.tables import ENDS, idempotency_keys, invocations
from function_runner.store.values import Repeated

# Whose idempotency keys they are. Callers are not told apart: all of them use the same credentials, and their addresses
# change from one try to the next, which is when a key matters.
EVERYBODY = ""


def meaning_of(connection: Connection, function: str, key: IdempotencyKey) -> str | None:
    """The id of the invocation that the key stands for.

    None when it is free: never used, expired, or its invocation ended before anybody was handed it.

    Raises:
        IdempotencyKeyReused: it stands for another request.
    """
    query = (
        select(
            idempotency_keys.c.invocation_id,
            idempotency_keys.c.request_sha256,
            idempotency_keys.c.expires_at,
            invocations.c.status,
            invocations.c.delivered,
        )
        .join_from(idempotency_keys, invocations, invocations.c.id == idempotency_keys.c.invocation_id)
        .where(*_of_key(function, key))
    )
    found = connection.execute(query).one_or_none()
    if found is None or found.expires_at <= utc_now() or (found.status in ENDS and not found.delivered):
        return None
    if found.request_sha256 != key.request_sha256:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used for a request with other parameters. A key stands for one request: use a "
            "new one for a new request.",
            invocation_id=found.invocation_id,
        )
    invocation_id: str = found.invocation_id
    return invocation_id


def make_room_for(connection: Connection, function: str, key: IdempotencyKey) -> None:
    """Make sure that the key is free.

    Raises:
        Repeated: it stands for another invocation of the same request.
        IdempotencyKeyReused: it stands for another request.
    """
    invocation_id = meaning_of(connection, function, key)
    if invocation_id is not None:
        raise Repeated(invocation_id)
    connection.execute(delete(idempotency_keys).where(*_of_key(function, key)))


def remember(connection: Connection, invocation: Invocation, key: IdempotencyKey) -> None:
    """From now on the key, which is free, stands for this invocation."""
    connection.execute(
        insert(idempotency_keys).values(
            caller=EVERYBODY,
            function=invocation.function,
            key=key.key,
            request_sha256=key.request_sha256,
            invocation_id=invocation.id,
            expires_at=key.expires_at,
        )
    )


def _of_key(function: str, key: IdempotencyKey) -> tuple[ColumnElement[bool], ...]:
    return (
        idempotency_keys.c.caller == EVERYBODY,
        idempotency_keys.c.function == function,
        idempotency_keys.c.key == key.key,
    )
