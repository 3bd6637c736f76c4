"""Requests nobody should send: each gets its own clear refusal, at once, and leaves no record."""

import json

import pytest

JSON = "application/json"
OK = json.dumps({"function": "echo", "parameters": {}})


def deep(levels):
    return '{"function":"echo","parameters":{"a":' + "[" * levels + "]" * levels + "}}"


def value(text):
    return '{"function":"echo","parameters":{"a":' + text + "}}"


NOT_JSON = {
    "no body": b"",
    "blank": b"   ",
    "null": b"null",
    "a list": b"[]",
    "a string": b'"x"',
    "a number": b"1",
    "cut off": b'{"function": "echo"',
    "single quotes": b"{'function': 'echo'}",
    "trailing words": OK.encode() + b" and more",
    "two documents": OK.encode() * 2,
    "trailing comma": b'{"function": "echo", "parameters": {},}',
    "a comment": b'{"function": "echo" /* yes */, "parameters": {}}',
    "NaN": value("NaN").encode(),
    "Infinity": value("Infinity").encode(),
    "minus Infinity": value("-Infinity").encode(),
    "an overflowing number": value("1e999").encode(),
    "an endless whole number": value("9" * 5000).encode(),
    "a name twice": b'{"function": "echo", "function": "train", "parameters": {}}',
    "a name twice inside": value('{"b": 1, "b": 2}').encode(),
    "half a surrogate": value('"\\ud800"').encode(),
    "half a surrogate as a name": value('{"\\udc00": 1}').encode(),
    "a NUL": value('"\\u0000"').encode(),
    "33 levels": deep(33).encode(),
    "1000 levels": deep(1000).encode(),
    "100000 levels": deep(100_000).encode(),
    "100000 levels, unclosed": b'{"function":"echo","parameters":' + b"[" * 100_000,
    "UTF-16": OK.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + OK.encode(),
    "bytes that are no UTF-8": b'{"function": "echo", "parameters": {"a": "\xff\xfe"}}',
}

MEDIA_TYPES = {
    "none": None,
    "text": "text/plain",
    "a form": "application/x-www-form-urlencoded",
    "multipart": "multipart/form-data; boundary=x",
    "latin1": "application/json; charset=latin1",
    "almost": "application/jsonp",
}

REQUESTS = {
    "nothing inside": {},
    "no function": {"parameters": {}},
    "function null": {"function": None, "parameters": {}},
    "function a number": {"function": 1, "parameters": {}},
    "function a list": {"function": ["echo"], "parameters": {}},
    "function empty": {"function": "", "parameters": {}},
    "parameters a list": {"function": "echo", "parameters": []},
    "parameters a string": {"function": "echo", "parameters": "{}"},
    "an unknown field": {"function": "echo", "parameters": {}, "priority": 1},
    "a misspelt field": {"function": "echo", "params": {}},
    "timeout zero": {"function": "echo", "parameters": {}, "timeout": 0},
    "timeout negative": {"function": "echo", "parameters": {}, "timeout": -1},
    "timeout in words": {"function": "echo", "parameters": {}, "timeout": "10"},
    "timeout yes": {"function": "echo", "parameters": {}, "timeout": True},
    "timeout for ever": {"function": "echo", "parameters": {}, "timeout": 1e9},
}

NAMES = [
    "e" * 300,
    "nobody", "Train", "train ", " train", "../train", "train/../x", "train%2f..", "/etc", ".", "..", "train\n",
    "con", "__pycache__", "tr\u0430in", "\u202eniart",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def no_record_is_made(stack):
    def newest():
        found = stack.get("/invocations?limit=1").json["invocations"]
        return found[0]["invocation_id"] if found else None

    before = newest()
    yield
    assert newest() == before


@pytest.fixture(autouse=True)
def nothing_stays():
    """Nothing was started, so there is nothing to wait for."""


def send(stack, body, content_type=JSON):
    answer = stack.post("/invoke", data=body, headers={"Content-Type": content_type} if content_type else {})
    assert answer.seconds < 2
    assert "X-Invocation-Id" not in answer.headers
    return answer


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_strict_json(stack, body):
    answer = send(stack, body)

    assert answer.status == 400, answer.text
    assert answer.json["code"] in ("invalid_json", "invalid_request")
    answer.problem(400, answer.json["code"])


@pytest.mark.parametrize("content_type", MEDIA_TYPES.values(), ids=MEDIA_TYPES)
def test_other_media_types(stack, content_type):
    send(stack, OK, content_type).problem(415, "unsupported_media_type")


@pytest.mark.parametrize("document", REQUESTS.values(), ids=REQUESTS)
def test_requests_that_are_not_understood(stack, document):
    problem = send(stack, json.dumps(document)).problem(400, "invalid_request")

    assert problem["errors"], problem


@pytest.mark.parametrize("name", NAMES)
def test_functions_that_do_not_exist(stack, name):
    answer = send(stack, json.dumps({"function": name, "parameters": {}}))

    assert answer.status in (400, 404), answer.text
    assert answer.json["code"] in ("invalid_request", "function_not_found")
    answer.problem(answer.status, answer.json["code"])


def test_an_unknown_function_is_told_which_exist(stack):
    problem = send(stack, json.dumps({"function": "nobody", "parameters": {}})).problem(404, "function_not_found")

    assert "train" in problem["detail"]
    assert "predict" in problem["detail"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1", "limit=0", "limit=1000000000", "limit=many", "limit=1.5", "before=garbage", "before=%00",
        "status=' OR 1=1", "status=sleeping",  "nonsense=1",
    ],
)  # fmt: skip
def test_listings_that_are_not_understood(stack, query):
    stack.get(f"/invocations?{query}").problem(400, "invalid_request")


@pytest.mark.parametrize(
    "name", ["unknown", "0", "x" * 5000, "00000000-0000-0000-0000-000000000000", "%2e%2e%2fetc%2fpasswd", "a%0ab"]
)
@pytest.mark.parametrize("suffix", ["", "/logs"])
def test_records_that_do_not_exist(stack, name, suffix):
    answer = stack.get(f"/invocations/{name}{suffix}")

    assert answer.status in (400, 404, 414), answer.text[:300]
    if answer.status != 414:
        answer.problem(answer.status, answer.json["code"])


@pytest.mark.parametrize("path", ["/models/nobody", "/models/nobody/versions", "/models/iris_model/versions/99999"])
def test_models_that_do_not_exist(stack, path):
    stack.get(path).problem(404, "model_not_found")


def test_an_experiment_that_does_not_exist(stack):
    stack.get("/experiments/99999/runs").problem(404, "experiment_not_found")


@pytest.mark.parametrize("path", ["/functions/nobody", "/functions/..%2ftrain", "/functions/nobody/build/log"])
def test_functions_that_cannot_be_shown(stack, path):
    answer = stack.get(path)

    assert answer.status in (400, 404)
    answer.problem(answer.status, answer.json["code"])
