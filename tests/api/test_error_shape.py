"""Every error, whoever raises it, has the one shape."""

import pytest
from werkzeug import exceptions

from function_runner import errors
from function_runner.api.docs import problem_codes
from function_runner.errors import RunnerError

MEMBERS = {
    "type",
    "title",
    "status",
    "detail",
    "code",
    "instance",
    "function",
    "invocation_id",
    "container_name",
    "log_file",
    "errors",
    "retry_after",
    "function_error",
    "exit_code",
    "error_id",
}


NOT_FROM_INVOKE = {
    errors.InvocationNotFound,
    errors.LogExpired,
    errors.ModelNotFound,
    errors.ExperimentNotFound,
    errors.NotFound,
    errors.MethodNotAllowed,
    errors.MlflowUnavailable,
}
FROM_INVOKE = [kind for kind in problem_codes() if kind not in NOT_FROM_INVOKE]


@pytest.mark.parametrize("kind", FROM_INVOKE, ids=lambda kind: kind.code)
def test_each_of_our_errors(client, services, problem, kind):
    services.invoker.error = kind()
    response = client.post("/invoke", json={"function": "echo", "parameters": {"word": "x"}})
    document = problem(response, kind.status, kind.code)
    assert set(document) <= MEMBERS
    assert document["title"] == kind.title
    assert document["detail"] == " ".join(kind.__doc__.split())


def test_codes_are_stable_words_and_belong_to_one_error_each():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RunnerError)]
    assert len({kind.code for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert kind.code.replace("_", "").isalpha()
        assert kind.code.islower()
        assert 400 <= kind.status <= 599


@pytest.mark.parametrize("path", ["/", "/nothing", "/invoke/", "/Invoke", "/invocations/", "/docs/", "/%00", "/a%2f.."])
def test_an_address_that_is_not_there(client, problem, path):
    problem(client.get(path), 404, "not_found")


def test_an_address_has_one_spelling(client, problem):
    for path in ("/functions//build", "/functions/echo//build", "/./health"):
        problem(client.get("/", environ_overrides={"PATH_INFO": path}), 404, "not_found")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_a_method_that_is_not_answered(client, problem, method):
    for path in ("/invocations", "/functions/echo", "/health", "/docs"):
        response = client.open(path, method=method)
        problem(response, 405, "method_not_allowed")
        assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/health", "/functions", "/models/iris_model", "/openapi.json", "/docs", "/metrics"])
def test_a_query_nobody_asked_for(client, problem, path):
    document = problem(client.get(f"{path}?x=1"), 400, "invalid_request")
    assert document["errors"] == [{"pointer": "/x", "detail": "is not known here"}]


def test_head_has_no_body(client):
    for path in ("/health", "/nothing"):
        response = client.head(path)
        assert response.data == b""


def test_a_bug_is_told_by_a_number_and_logged_with_all_its_details(client, services, problem, caplog):
    services.invoker.error = ZeroDivisionError("swordfish")
    response = client.post("/invoke", json={"function": "echo", "parameters": {"word": "x"}})
    document = problem(response, 500, "internal_error")
    assert "swordfish" not in response.text
    assert "Traceback" not in response.text
    assert document["error_id"] in document["detail"]
    [record] = [record for record in caplog.records if getattr(record, "error_id", None) == document["error_id"]]
    assert record.exc_info[0] is ZeroDivisionError


def test_errors_of_the_http_library_have_the_shape_too(client, problem):
    app = client.application

    def fail():
        raise app.config["RAISE"]

    # Flask allows no new routes after the first request; this one stands where nothing else is.
    app._got_first_request = False
    app.add_url_rule("/fail", "fail", fail)
    for error, code in [
        (exceptions.BadRequest("swordfish"), "invalid_request"),
        (exceptions.NotFound(), "not_found"),
        (exceptions.RequestEntityTooLarge(), "payload_too_large"),
        (exceptions.RequestTimeout(), "request_timeout"),
        (exceptions.RequestHeaderFieldsTooLarge(), "request_header_fields_too_large"),
        (exceptions.ImATeapot(), "i_m_a_teapot"),
        (exceptions.InternalServerError(), "internal_error"),
        (exceptions.ServiceUnavailable(), "internal_error"),
        (exceptions.ClientDisconnected(), "invalid_request"),
        (KeyError("swordfish"), "internal_error"),
    ]:
        app.config["RAISE"] = error
        response = client.get("/fail")
        problem(response, response.status_code, code)
        assert "swordfish" not in response.text
