"""Where JSON values differ: as deep as can be said, and nothing that is the same."""

from function_runner.differences import differences


def found(*values):
    return [(entry.pointer, entry.values) for entry in differences(dict(zip("abcdefgh", values, strict=False)))]


def test_it_works():
    one = {"x": 1, "deep": {"list": [1, 2], "same": None}}
    other = {"x": 2, "deep": {"list": [1, 3], "same": None}}
    assert found(one, other) == [("/x", {"a": 1, "b": 2}), ("/deep/list/1", {"a": 2, "b": 3})]


def test_what_is_the_same_is_no_difference():
    assert found({"x": [1, {"y": "z"}]}, {"x": [1.0, {"y": "z"}]}, {"x": [1, {"y": "z"}]}) == []


def test_one_of_many_is_enough():
    assert found(1, 1, 2) == [("", {"a": 1, "b": 1, "c": 2})]


def test_absent_is_not_null():
    assert found({"x": None}, {}) == [("/x", {"a": None})]
    assert found({}, {"x": None}, {"x": 1}) == [("/x", {"b": None, "c": 1})]


def test_lists_of_different_length_differ_at_the_end():
    assert found([1, 2, 3], [1, 2], [1]) == [("/1", {"a": 2, "b": 2}), ("/2", {"a": 3})]


def test_what_is_not_of_one_kind_differs_as_a_whole():
    assert found({"x": {"y": 1}}, {"x": [1]}) == [("/x", {"a": {"y": 1}, "b": [1]})]
    assert found({"x": {"y": 1}}, {"x": None}) == [("/x", {"a": {"y": 1}, "b": None})]


def test_true_is_not_one():
    assert found(1, True) == [("", {"a": 1, "b": True})]
    assert found(0, False) == [("", {"a": 0, "b": False})]
    assert found(True, True) == []


def test_pointers_are_escaped():
    assert [pointer for pointer, _ in found({"a/b~c": 1, "": 1}, {"a/b~c": 2, "": 2})] == ["/a~1b~0c", "/"]
