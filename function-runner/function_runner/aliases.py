"""Aliases of models: which version `champion` means. Moves them, back as well, and remembers who moved what and when.

MLflow holds the truth and no history; the history is in our record. Two stores cannot be written as one, so MLflow
comes first, and whoever looks compares both: where MLflow says something else than the last move in the history,
somebody has moved the alias past us (in MLflow's own interface, or here while the record could not be written), and
that is noted as a move from outside. So the history may learn of a move late and without a name, but it never tells
of one that was not.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from function_runner.errors import AliasMoved, Busy, ModelNotFound, NoEarlierVersion, StoreUnavailable
from function_runner.invocation import utc_now
from function_runner.model_versions import ModelVersions
from function_runner.pool import Pool
from function_runner.store import AliasAction, AliasMove, Store
from function_runner.tracking import Json, Tracking, check_alias_name

TURN_SECONDS = 10.0  # how long one waits for others who look or move


@dataclass(frozen=True)
class Expected:
    """Where somebody believes that an alias points."""

    version: str | None  # None: there is no such alias yet


class Aliases:
    """Looks and moves, one at a time. Safe to use from any thread.

    Every method raises `ModelNotFound`, `MlflowUnavailable`, `StoreUnavailable` (then nothing was moved, unless it says
    so) and, when others take too long, `Busy`.
    """

    def __init__(self, tracking: Tracking, store: Store, models: ModelVersions, pool: Pool) -> None:
        self._tracking = tracking
        self._store = store
        self._models = models
        self._pool = pool
        # Held from looking until it is noted, although that is I/O: MLflow has no "move it if it points there", and
        # what one of us has just moved must not be taken for a move from outside by another. Moves are rare.
        self._turn = threading.Lock()

    def look(self, name: str) -> dict[str, str]:
        """Where the aliases of a model point: version by alias. Notes what was moved outside."""
        with self._my_turn():
            model, _ = self._compare(name)
            aliases: dict[str, str] = model["aliases"]
            return aliases

    def move(
        self, name: str, alias: str, version: str, *, expected: Expected | None = None, caller: str | None = None
    ) -> dict[str, str]:
        """Let an alias mean a version (a number, ``latest`` or ``@alias``); one that does already is left alone.

        Raises:
            InvalidRequest: an alias cannot have this name.
            AliasMoved: it points elsewhere than expected.
        """
        check_alias_name(alias)
        with self._my_turn():
            model, last = self._compare(name)
            _require(model, alias, expected)
            return self._point(model, last.get(alias), alias, version, AliasAction.SET, caller)

    def delete(
        self, name: str, alias: str, *, expected: Expected | None = None, caller: str | None = None
    ) -> dict[str, str]:
        """Let a model have no such alias any more.

        Raises:
            ModelNotFound: it has none.
            AliasMoved: it points elsewhere than expected.
        """
        with self._my_turn():
            model, last = self._compare(name)
            _require(model, alias, expected)
            present = model["aliases"].get(alias)
            if present is None:
                raise _no_alias(model, alias)
            self._tracking.delete_alias(name, alias)
            self._tell(name)
            self._note(name, alias, last.get(alias), AliasAction.DELETE, present, None, caller)
            return {other: version for other, version in model["aliases"].items() if other != alias}

    def roll_back(
        self, name: str, alias: str, *, expected: Expected | None = None, caller: str | None = None
    ) -> dict[str, str]:
        """Let an alias mean what it meant before its last move; one that was deleted comes back.

        Raises:
            ModelNotFound: there never was such an alias, or the version of then is gone.
            NoEarlierVersion: the last move made it.
            AliasMoved: it points elsewhere than expected.
        """
        with self._my_turn():
            model, last = self._compare(name)
            _require(model, alias, expected)
            move = last.get(alias)
            if move is None:
                raise _no_alias(model, alias)
            if move.from_version is None:
                raise NoEarlierVersion(
                    f"Alias {alias!r} of model {name!r} did not exist before its last move, which let it mean version "
                    f"{move.to_version}: there is nothing to roll back to. Delete it, or set it to another version."
                )
            return self._point(model, move, alias, move.from_version, AliasAction.ROLLBACK, caller)

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise Busy("Others are still looking at or moving aliases; is MLflow slow? Nothing was moved.")
        try:
            yield
        finally:
            self._turn.release()

    def _compare(self, name: str) -> tuple[Json, dict[str, AliasMove]]:
        """The model as MLflow has it, and the last move of each of its aliases. After this, both agree."""
        last = self._store.last_alias_moves(name)
        model = self._tracking.model(name)
        present: dict[str, str] = model["aliases"]
        outside = []
        for alias in sorted({*last, *present}):
            move = last.get(alias)
            noted = move.to_version if move is not None else None
            if present.get(alias) != noted:
                outside.append(_next(move, name, alias, AliasAction.OUTSIDE, noted, present.get(alias)))
        if outside:
            self._store.note_alias_moves(outside)
        return model, last | {move.alias: move for move in outside}

    def _point(
        self, model: Json, last: AliasMove | None, alias: str, version: str, action: AliasAction, caller: str | None
    ) -> dict[str, str]:
        name, present = model["name"], model["aliases"].get(alias)
        if version == present:
            return dict(model["aliases"])
        number = self._tracking.set_alias(model, alias, version)
        if number != present:
            self._tell(name)
            self._note(name, alias, last, action, present, number, caller)
        return {**model["aliases"], alias: number}

    def _tell(self, name: str) -> None:
        """From now on the alias means another version, and containers that have loaded the old one are replaced."""
        self._models.moved(name)
        self._pool.look()

    def _note(
        self,
        name: str,
        alias: str,
        last: AliasMove | None,
        action: AliasAction,
        before: str | None,
        after: str | None,
        caller: str | None,
    ) -> None:
        try:
            self._store.note_alias_moves([_next(last, name, alias, action, before, after, caller)])
        except StoreUnavailable as error:
            points = f"points to version {after} now" if after is not None else "is deleted now"
            raise StoreUnavailable(
                f"Alias {alias!r} of model {name!r} {points}, but its history cannot be written; the move will be "
                f"noted as one from outside. {error}"
            ) from error


def _next(
    last: AliasMove | None,
    name: str,
    alias: str,
    action: AliasAction,
    before: str | None,
    after: str | None,
    caller: str | None = None,
) -> AliasMove:
    number = last.number + 1 if last is not None else 1
    return AliasMove(name, alias, number, action, utc_now(), before, after, caller)


def _require(model: Json, alias: str, expected: Expected | None) -> None:
    present = model["aliases"].get(alias)
    if expected is None or expected.version == present:
        return
    points = f"points to version {present}" if present is not None else "does not exist"
    wanted = f"it to point to version {expected.version}" if expected.version is not None else "that it does not exist"
    raise AliasMoved(
        f"Alias {alias!r} of model {model['name']!r} {points}; you expected {wanted}. Somebody has moved it: look at "
        "its history and decide again.",
        present_version=present,
    )


def _no_alias(model: Json, alias: str) -> ModelNotFound:
    known = ", ".join(sorted(model["aliases"]))
    return ModelNotFound(f"Model {model['name']!r} has no alias {alias!r}. There is: {known or 'none'}.")
