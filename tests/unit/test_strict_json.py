"""The strict JSON gate: what passes comes out as it was meant, and nothing else passes."""

import contextlib
import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function_runner.strict_json import MAX_DEPTH, MAX_NAMES, StrictJsonError, dumps, loads

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**19) + 1, 10**19 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(
    SCALARS, lambda nested: st.lists(nested, max_size=5) | st.dictionaries(TEXT, nested, max_size=5), max_leaves=30
)


def test_it_works():
    assert loads(b' {"a": [1, -2.5e3, "x", true, false, null]} ') == {"a": [1, -2500.0, "x", True, False, None]}


@given(VALUES)
def test_what_is_written_is_read(value):
    assert loads(dumps(value)) == value
    assert loads(dumps(value, indent=2)) == value
    assert loads(dumps(value, spaced=True)) == value


@given(VALUES)
def test_escapes_are_read_as_well(value):
    assert loads(json.dumps(value).encode()) == value


@given(st.binary(max_size=60))
def test_bytes_are_read_or_refused(data):
    try:
        value = loads(data)
    except StrictJsonError:
        return
    assert loads(dumps(value)) == value


@given(st.text('[]{}":,\\u0d8ef1-+.eE ntrl', max_size=40))
def test_text_like_json_is_read_or_refused(text):
    try:
        value = loads(text.encode())
    except StrictJsonError:
        return
    assert json.loads(text) == value
    assert loads(dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "}",
        "[1,]",
        '{"a":1,}',
        "{'a':1}",
        "{a:1}",
        "01",
        "+1",
        ".5",
        "1.",
        "0x10",
        "1_000",
        "True",
        "nul",
        '"a',
        '"\n"',
        '"\t"',
        '"\\x41"',
        '"\\u12"',
        "// comment\n1",
        "1 2",
        "NaN",
        "[Infinity]",
        '{"a":-Infinity}',
    ],
)
def test_what_is_not_json_is_refused(text):
    with pytest.raises(StrictJsonError):
        loads(text.encode())


@pytest.mark.parametrize("text", ["1e999", "-1e999", "1E400", "[1e309]", "9" * 400 + ".0", "0." + "1" * 500])
def test_numbers_no_float_can_hold_are_refused(text):
    with pytest.raises(StrictJsonError):
        loads(text.encode())


@pytest.mark.parametrize("text", ["1e308", "-1.7976931348623157e308", "5e-324", "1e-400", "-0.0"])
def test_numbers_a_float_can_hold_are_read(text):
    assert loads(text.encode()) == float(text)


def test_integers_have_at_most_19_digits():
    assert loads(b"9" * 19) == 10**19 - 1
    assert loads(b"-" + b"9" * 19) == 1 - 10**19
    for text in (b"1" + b"0" * 19, b"-1" + b"0" * 19, b"1" * 100_000):
        with pytest.raises(StrictJsonError, match="more than 19 digits"):
            loads(text)


def test_names_stand_once():
    for text in (b'{"a":1,"a":1}', b'[{"b":{"a":1,"a":2}}]', b'{"a":1,"\\u0061":2}'):
        with pytest.raises(StrictJsonError, match="'a' stands twice"):
            loads(text)


def test_an_object_has_a_bounded_number_of_names():
    loads(dumps({str(number): 0 for number in range(MAX_NAMES)}))
    with pytest.raises(StrictJsonError, match="more than 10000 names"):
        loads(dumps({str(number): 0 for number in range(MAX_NAMES + 1)}))


@pytest.mark.parametrize(
    "text", ['"\\ud800"', '"\\udc00\\ud800"', '{"\\ud83d":1}', '["x",["\\udfff x"]]', '"\\uD800\\u0041"']
)
def test_half_a_surrogate_pair_is_refused(text):
    with pytest.raises(StrictJsonError, match="surrogate"):
        loads(text.encode())


def test_a_whole_surrogate_pair_is_read():
    assert loads(b'"\\ud834\\udd1e"') == "𝄞"


@pytest.mark.parametrize("text", ['"\\u0000"', '{"a\\u0000":1}', '{"a":["\\u0000"]}'])
def test_the_null_character_is_refused(text):
    with pytest.raises(StrictJsonError, match=r"U\+0000"):
        loads(text.encode())


def test_an_escaped_backslash_is_no_escape():
    assert loads(b'"\\\\u0000 \\\\ud800"') == "\\u0000 \\ud800"


@pytest.mark.parametrize(
    "data", [b"\xff", b'"\xc3"', b'"\xed\xa0\x80"', b'"\xc0\x80"', '{"a":1}'.encode("utf-16"), "1".encode("utf-32")]
)
def test_only_utf8_is_read(data):
    with pytest.raises(StrictJsonError):
        loads(data)


def test_a_byte_order_mark_is_refused():
    with pytest.raises(StrictJsonError, match="byte order mark"):
        loads(b"\xef\xbb\xbf{}")


def nested(depth, closed=True):
    return b'{"a":[' * (depth // 2) + (b"]}" * (depth // 2) if closed else b"")


def test_depth_is_bounded():
    assert loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None
    for data in (
        b"[" * 33 + b"]" * 33,
        nested(34),
        nested(1000),
        nested(100_000),
        nested(100_000, closed=False),
        b"[" * 100_000,
        b"]" * 40 + b"[" * 100_000,
    ):
        with pytest.raises(StrictJsonError):
            loads(data)


def test_brackets_in_strings_do_not_count():
    value = {"a": "[" * 100, "b\\": '"[{' * 50, "c": ["\\", "[[" * 40]}
    assert loads(dumps(value)) == value


def test_many_brackets_side_by_side_are_no_depth():
    value = [[{}] for _ in range(1000)]
    assert loads(dumps(value)) == value


@pytest.mark.parametrize(
    "data",
    [
        b'"' + b"\\" * 1_000_000,
        b'"' * 1_000_000,
        b'"\\"' * 300_000 + b"[" * 40,
        b"[" * 33 + b'"' + b'\\"' * 500_000,
        b"[" + b"{}," * 300_000,
        b"1" * 1_000_000,
        b"0." + b"1" * 1_000_000,
        b"[" + b'"\\u0041",' * 100_000 + b'""]',
        b" " * 1_000_000,
        b'{"' + b'":1,"'.join(str(number).encode() for number in range(9_000)) + b'":1}',
    ],
    ids=range(10),
)
def test_nothing_takes_long(data):
    started = time.process_time()
    with contextlib.suppress(StrictJsonError):
        loads(data)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf], "\ud800", {"\udfff": 1}, {1, 2}, b"x", object()])
def test_what_is_no_json_is_not_written(value):
    with pytest.raises(StrictJsonError):
        dumps(value)


def test_endless_values_are_not_written():
    endless = []
    endless.append(endless)
    with pytest.raises(StrictJsonError):
        dumps(endless)


def test_messages_stay_short():
    with pytest.raises(StrictJsonError) as found:
        loads(b'{"%s":1,"%s":1}' % (b"x" * 10_000, b"x" * 10_000))
    assert len(str(found.value)) < 200
