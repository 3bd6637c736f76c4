"""Lines that say how far a function is: found in any cut of the output, believed only when they are exact."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function_runner.progress import MAX_LINE, MAX_MESSAGE, ProgressLines


def said(*pieces):
    """The last that these pieces of output say: done, total, message."""
    lines = ProgressLines()
    found = None
    for piece in pieces:
        found = lines.read(piece) or found
    return found and (found.done, found.total, found.message)


def line(**fields):
    return json.dumps({"progress": fields}).encode() + b"\n"


def test_it_works():
    assert said(b'{"progress": {"done": 40, "total": 100, "message": "fold 2 of 5"}}\n') == (40, 100, "fold 2 of 5")


def test_a_total_and_a_message_may_be_missing():
    assert said(line(done=3)) == (3, None, None)
    assert said(line(done=0.5, total=None, message=None)) == (0.5, None, None)
    assert said(line(done=0, total=1, message="")) == (0, 1, None)


@pytest.mark.parametrize(
    "output",
    [
        b'{"progress": {"done": 1}}',  # not ended: there may be more to come
        b' {"progress": {"done": 1}}\n',
        b'x{"progress": {"done": 1}}\n',
        b'{"progress": {"done": 1}} x\n',
        b'{"progress": {"done": 1}}{"progress": {"done": 2}}\n',
        b'{"progress": {"done": 1}, "more": 1}\n',
        b'{"progress": {"done": 1, "more": 1}}\n',
        b'{"progress": {"done": 1, "done": 2}}\n',
        b'{"progress": 1}\n',
        b'{"progress": null}\n',
        b'{"progress": [1]}\n',
        b'{"progress": {}}\n',
        b'{"progress"\n',
        b'{"progress": {"done": \xff}}\n',
        b'{"progress": {"done": 1, "message": "\\ud800"}}\n',
        b'{"progress": ' + b'{"a":' * 2000 + b"\n",
        line(done="1"),
        line(done=True),
        line(done=None),
        line(done=-1),
        line(done=1e16),
        line(done=2, total=1),
        line(done=0, total=0),
        line(done=1, total="2"),
        line(done=1, total=True),
        line(done=1, message=1),
        line(done=1, message={"text": "x"}),
        b'{"progress": {"done": NaN}}\n',
        b'{"progress": {"done": Infinity}}\n',
        b'{"progress": {"done": 1, "total": 1e999}}\n',
        line(done=1, message="x" * MAX_LINE),
    ],
)
def test_what_is_not_exact_is_output_like_any_other(output):
    assert said(output) is None
    assert said(b"before\n" + output + b"\n" + line(done=7)) == (7, None, None)


def test_the_last_one_counts():
    assert said(line(done=1) + b"between\n" + line(done=2) + line(done="no")) == (2, None, None)


def test_a_carriage_return_ends_a_line():
    assert said(b'50%\r{"progress": {"done": 1}}\r\n') == (1, None, None)


def test_a_message_is_one_line_of_some_length():
    assert said(line(done=1, message=" a\r\n\tb\x1b[31m "))[2] == "a b [31m"
    long = said(line(done=1, message="ä" * 500))[2]
    assert len(long) == MAX_MESSAGE
    assert long.endswith("…")


@given(st.lists(st.integers(0, 120), max_size=20))
def test_it_does_not_matter_how_the_output_is_cut(cuts):
    output = b"loading\n" + line(done=1, total=3, message="one") + b"x" * 20 + b"\n" + line(done=2, total=3)
    places = sorted({0, len(output), *(cut for cut in cuts if cut < len(output))})
    pieces = [output[begin:end] for begin, end in pairwise(places)]
    assert said(*pieces) == (2, 3, None)


@given(st.lists(st.binary(max_size=50), max_size=50))
def test_nothing_that_is_printed_makes_it_raise(pieces):
    lines = ProgressLines()
    for piece in pieces:
        lines.read(b'{"progress"' + piece)
        assert len(lines._begun) <= MAX_LINE


def test_a_line_without_end_is_not_kept():
    lines = ProgressLines()
    for _ in range(100):
        assert lines.read(b'{"progress": "' + b"x" * 1000) is None
    assert len(lines._begun) <= MAX_LINE
    assert lines.read(b'"}\n' + line(done=1)).done == 1
