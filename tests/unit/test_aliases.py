"""Moves of aliases: who moved what, that nobody overwrites another, and a history that tells the truth."""

import threading

import pytest

from function_runner import aliases as aliases_module
from function_runner.aliases import Aliases, Expected
from function_runner.errors import (
    AliasMoved,
    Busy,
    InvalidRequest,
    MlflowUnavailable,
    ModelNotFound,
    NoEarlierVersion,
    StoreUnavailable,
)
from support.api import Models, Pool, Store, Tracking

MODEL = "iris_model"


class House:
    """Aliases, with stand-ins around."""

    def __init__(self):
        self.tracking, self.store, self.models, self.pool = Tracking(aliases={}), Store(), Models(), Pool()
        self.aliases = Aliases(self.tracking, self.store, self.models, self.pool)

    def history(self):
        """Oldest first: action, from, to, caller."""
        return [(move.action, move.from_version, move.to_version, move.caller) for move in self.store.moves]


@pytest.fixture
def house():
    return House()


def test_it_works(house):
    assert house.aliases.move(MODEL, "champion", "1", caller="anna") == {"champion": "1"}
    assert house.aliases.move(MODEL, "champion", "2", caller="bert") == {"champion": "2"}
    assert house.aliases.roll_back(MODEL, "champion", caller="anna") == {"champion": "1"}
    assert house.aliases.delete(MODEL, "champion", caller="anna") == {}
    assert house.tracking.aliases == {}
    assert house.history() == [
        ("set", None, "1", "anna"),
        ("set", "1", "2", "bert"),
        ("rollback", "2", "1", "anna"),
        ("delete", "1", None, "anna"),
    ]
    assert [move.number for move in house.store.moves] == [1, 2, 3, 4]


def test_who_keeps_containers_is_told_of_each_move(house):
    house.aliases.move(MODEL, "champion", "1")
    house.aliases.move(MODEL, "champion", "2")
    house.aliases.roll_back(MODEL, "champion")
    house.aliases.delete(MODEL, "champion")
    assert house.models.told == [MODEL] * 4
    assert house.pool.looks == 4


@pytest.mark.parametrize("version", ["2", "@other"])
def test_what_points_there_already_is_no_move(house, version):
    house.aliases.move(MODEL, "champion", "2")
    house.tracking.set_alias = lambda model, alias, version: "2"
    assert house.aliases.move(MODEL, "champion", version) == {"champion": "2"}
    assert len(house.history()) == 1
    assert house.pool.looks == 1


def test_a_move_outside_is_noted_when_it_is_seen(house):
    house.tracking.aliases = {"champion": "1"}  # from before there was a history
    assert house.aliases.look(MODEL) == {"champion": "1"}
    house.tracking.aliases = {"champion": "3", "other": "2"}
    house.aliases.look(MODEL)
    house.tracking.aliases = {"other": "2"}
    house.aliases.look(MODEL)
    house.aliases.look(MODEL)  # nothing new
    assert house.history() == [
        ("outside", None, "1", None),
        ("outside", "1", "3", None),
        ("outside", None, "2", None),
        ("outside", "3", None, None),
    ]


def test_a_move_outside_comes_before_ours(house):
    house.aliases.move(MODEL, "champion", "1", caller="anna")
    house.tracking.aliases["champion"] = "2"
    house.aliases.move(MODEL, "champion", "3", caller="anna")
    assert house.history()[1:] == [("outside", "1", "2", None), ("set", "2", "3", "anna")]
    house.tracking.aliases["champion"] = "1"
    assert house.aliases.roll_back(MODEL, "champion") == {"champion": "3"}


def test_somebody_who_expects_another_version_moves_nothing(house):
    house.aliases.move(MODEL, "champion", "2")
    for refused in (
        lambda: house.aliases.move(MODEL, "champion", "3", expected=Expected("1")),
        lambda: house.aliases.move(MODEL, "champion", "3", expected=Expected(None)),
        lambda: house.aliases.delete(MODEL, "champion", expected=Expected("1")),
        lambda: house.aliases.roll_back(MODEL, "champion", expected=Expected("1")),
    ):
        with pytest.raises(AliasMoved, match="version 2") as error:
            refused()
        assert error.value.members == {"present_version": "2"}
    with pytest.raises(AliasMoved, match="does not exist"):
        house.aliases.move(MODEL, "other", "3", expected=Expected("1"))
    assert house.tracking.aliases == {"champion": "2"}
    assert len(house.history()) == 1


def test_what_is_as_expected_is_moved(house):
    assert house.aliases.move(MODEL, "champion", "1", expected=Expected(None)) == {"champion": "1"}
    assert house.aliases.move(MODEL, "champion", "2", expected=Expected("1")) == {"champion": "2"}
    assert house.aliases.roll_back(MODEL, "champion", expected=Expected("2")) == {"champion": "1"}
    assert house.aliases.delete(MODEL, "champion", expected=Expected("1")) == {}


def test_of_many_who_expect_the_same_one_moves(house):
    house.tracking.numbers = tuple(str(number) for number in range(1, 10))
    house.aliases.move(MODEL, "champion", "1")
    line = threading.Barrier(8)
    outcomes = []

    def move(version):
        line.wait()
        try:
            outcomes.append(house.aliases.move(MODEL, "champion", version, expected=Expected("1")))
        except AliasMoved:
            outcomes.append(None)

    threads = [threading.Thread(target=move, args=(str(number),)) for number in range(2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    moved = [outcome for outcome in outcomes if outcome]
    assert len(outcomes) == 8
    assert moved == [house.tracking.aliases]
    assert len(house.history()) == 2


def test_rolling_back_twice_is_back_again(house):
    house.aliases.move(MODEL, "champion", "1")
    house.aliases.move(MODEL, "champion", "2")
    assert house.aliases.roll_back(MODEL, "champion") == {"champion": "1"}
    assert house.aliases.roll_back(MODEL, "champion") == {"champion": "2"}


def test_a_deleted_alias_is_rolled_back(house):
    house.aliases.move(MODEL, "champion", "2")
    house.aliases.delete(MODEL, "champion")
    assert house.aliases.roll_back(MODEL, "champion") == {"champion": "2"}


def test_there_is_nothing_before_the_first_move(house):
    house.aliases.move(MODEL, "champion", "1")
    with pytest.raises(NoEarlierVersion, match="version 1"):
        house.aliases.roll_back(MODEL, "champion")
    assert house.tracking.aliases == {"champion": "1"}


def test_an_alias_that_is_not_there(house):
    house.tracking.aliases = {"champion": "1"}
    for refused in (house.aliases.delete, house.aliases.roll_back):
        with pytest.raises(ModelNotFound, match=r"'other'.*champion"):
            refused(MODEL, "other")
    with pytest.raises(ModelNotFound):
        house.aliases.look("nobody")


def test_a_version_that_is_not_there(house):
    house.aliases.move(MODEL, "champion", "1")
    with pytest.raises(ModelNotFound):
        house.aliases.move(MODEL, "champion", "7")
    assert len(house.history()) == 1


def test_a_name_that_is_reserved_reaches_nobody(house):
    with pytest.raises(InvalidRequest):
        house.aliases.move(MODEL, "latest", "1")
    assert house.tracking.asked == []


def test_a_name_that_is_reserved_by_now_can_be_deleted(house):
    house.tracking.aliases = {"v1": "1"}
    assert house.aliases.delete(MODEL, "v1") == {}


def test_without_mlflow_nothing_is_noted(house):
    house.tracking.error = MlflowUnavailable()
    with pytest.raises(MlflowUnavailable):
        house.aliases.move(MODEL, "champion", "1")
    assert house.history() == []


def test_without_the_record_nothing_is_moved(house):
    house.store.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        house.aliases.move(MODEL, "champion", "1")
    assert house.tracking.aliases == {}


def test_a_move_whose_history_cannot_be_written_is_told_and_seen_later(house):
    write = house.store.note_alias_moves

    def fail(moves):
        raise StoreUnavailable("The disk is full.")

    house.store.note_alias_moves = fail
    with pytest.raises(StoreUnavailable, match=r"points to version 1 now.*disk is full"):
        house.aliases.move(MODEL, "champion", "1", caller="anna")
    assert house.models.told == [MODEL]
    house.store.note_alias_moves = write
    house.aliases.look(MODEL)
    assert house.history() == [("outside", None, "1", None)]


def test_who_would_wait_too_long_is_sent_away(house, monkeypatch):
    monkeypatch.setattr(aliases_module, "TURN_SECONDS", 0.05)
    answers = threading.Event()
    asked = threading.Event()

    def hang(name):
        asked.set()
        answers.wait(10)
        raise MlflowUnavailable

    house.tracking.model = hang

    def look():
        with pytest.raises(MlflowUnavailable):
            house.aliases.look(MODEL)

    slow = threading.Thread(target=look)
    slow.start()
    assert asked.wait(10)
    try:
        with pytest.raises(Busy):
            house.aliases.move(MODEL, "champion", "1")
    finally:
        answers.set()
        slow.join()
