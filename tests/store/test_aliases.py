"""The history of aliases: only added to, each move once."""

import sqlite3
from datetime import timedelta

import pytest

from function_runner.invocation import utc_now
from function_runner.store import AliasAction, AliasMove

BEGIN = utc_now()


def move(number, before, after, *, alias="champion", model="iris", caller=None):
    at = BEGIN + timedelta(seconds=number)
    return AliasMove(model, alias, number, AliasAction.SET, at, before, after, caller)


def test_it_works(record):
    moves = [move(1, None, "1", caller="anna"), move(2, "1", None), move(1, None, "2", alias="other")]
    record.store.note_alias_moves(moves[:1])
    record.store.note_alias_moves(moves[1:])
    assert record.store.last_alias_moves("iris") == {"champion": moves[1], "other": moves[2]}
    assert record.store.alias_history("iris") == moves[::-1]
    assert record.store.alias_history("iris", alias="champion") == [moves[1], moves[0]]
    assert record.store.alias_history("iris", limit=1) == [moves[2]]


def test_models_do_not_know_of_each_other(record):
    record.store.note_alias_moves([move(1, None, "1"), move(1, None, "7", model="wine")])
    assert record.store.last_alias_moves("wine") == {"champion": move(1, None, "7", model="wine")}
    assert record.store.last_alias_moves("nobody") == {}
    assert record.store.alias_history("nobody") == []


def test_of_two_who_note_the_same_move_one_does(new_record):
    one, other = new_record("runner-1"), new_record("runner-2")
    one.store.note_alias_moves([move(1, None, "1", caller="anna")])
    other.store.note_alias_moves([move(1, None, "1"), move(1, None, "2", alias="other")])
    assert [entry.caller for entry in one.store.alias_history("iris", alias="champion")] == ["anna"]
    assert len(one.store.alias_history("iris")) == 2


@pytest.mark.parametrize("statement", ["UPDATE alias_moves SET to_version = '9'", "DELETE FROM alias_moves"])
def test_what_happened_does_not_change(record, statement):
    record.store.note_alias_moves([move(1, None, "1")])
    with pytest.raises(sqlite3.IntegrityError, match="what happened does not change"):
        record.sql(statement)
