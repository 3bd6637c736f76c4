"""``/openapi.json``: true about every route, and usable by programs."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from function_runner.function import Function
from support.api import Description, add_function, remove_function


@pytest.fixture
def document(client):
    return client.get("/openapi.json").get_json()


def test_it_works(document):
    assert document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_described_and_nothing_else(client, document):
    served = {
        (rule.rule.replace("<", "{").replace(">", "}"), method.lower())
        for rule in client.application.url_map.iter_rules()
        for method in rule.methods - {"HEAD"}
    }
    described = {(path, method) for path, operations in document["paths"].items() for method in operations}
    assert served - described == {("/docs/style.css", "get")}
    assert described <= served


def test_every_operation_has_a_name_a_summary_and_a_tag(document):
    operations = [operation for operations in document["paths"].values() for operation in operations.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    tags = {tag["name"] for tag in document["tags"]}
    for operation in operations:
        assert operation["summary"]
        assert set(operation["tags"]) <= tags


def test_the_functions_parameters_are_described(document):
    described = document["components"]["schemas"]["echo.parameters"]
    assert described["properties"]["times"] == {"type": "integer", "minimum": 1, "maximum": 9, "default": 1}
    assert described["properties"]["list"] == {"$ref": "#/components/schemas/echo.parameters/$defs/words"}


def test_requests_are_described_as_they_are_validated(client, document):
    """What the description of /invoke allows is accepted; what it does not allow is not."""
    schema = document["paths"]["/invoke"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    validate = Description(document).validate
    for body in (
        {"function": "echo", "parameters": {"word": "x"}},
        {"function": "echo", "parameters": {"word": "x", "list": ["a"]}, "timeout": 900},
        {"function": "echo", "parameters": {"word": "x"}, "timeout": None},
    ):
        assert client.post("/invoke", json=body).status_code == 200
        validate(body, schema)
    for body in (
        {"function": "echo"},
        {"function": "other", "parameters": {"word": "x"}},
        {"function": "echo", "parameters": {"word": "x"}, "timeout": 0},
        {"function": "echo", "parameters": {"word": "x"}, "timeout": 901},
        {"function": "echo", "parameters": {"word": "x", "list": [1]}},
        {"function": "echo", "parameters": {"word": "x"}, "more": 1},
    ):
        assert client.post("/invoke", json=body).status_code in (400, 404, 422)
        with pytest.raises(AssertionError):
            validate(body, schema)


def test_a_new_function_is_described_at_once(client, folder):
    add_function(folder, "newcomer")
    document = client.get("/openapi.json").get_json()
    OpenAPIV31SpecValidator(document).validate()
    assert "newcomer.parameters" in document["components"]["schemas"]


def test_without_functions_any_request_is_described(client, folder):
    remove_function(folder, "echo")
    document = client.get("/openapi.json").get_json()
    OpenAPIV31SpecValidator(document).validate()
    content = document["paths"]["/invoke"]["post"]["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/InvokeRequest"}


def test_examples_fit_their_own_schema(document, services):
    function: Function = services.catalog.get("echo")
    examples = document["paths"]["/invoke"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    for example in examples.values():
        function.validate(example["value"]["parameters"])


def test_whatever_takes_a_body_says_that_it_may_be_unreadable(document):
    taking = [
        operation for path in document["paths"].values() for operation in path.values() if "requestBody" in operation
    ]
    assert len(taking) >= 4
    for operation in taking:
        assert {"400", "413", "415"} <= set(operation["responses"])


def test_it_is_strict_json(client):
    json.loads(client.get("/openapi.json").data, parse_constant=pytest.fail)


def test_no_request_a_program_makes_of_it_surprises(app, client):
    """Schemathesis sends requests that fit the description, and ones that do not, to every route."""
    described = schemathesis.openapi.from_wsgi("/openapi.json", app)
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    bounds = settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))

    def send(case):
        case.call_and_validate(checks=checks, headers={"Host": "localhost"})

    modes = schemathesis.GenerationMode
    for result in described.get_all_operations():
        operation = result.ok()
        can_be_wrong = operation.query or operation.body
        for mode in (modes.POSITIVE, modes.NEGATIVE) if can_be_wrong else (modes.POSITIVE,):
            bounds(given(operation.as_strategy(generation_mode=mode))(send))()
