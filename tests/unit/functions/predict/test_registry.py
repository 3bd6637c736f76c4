"""Versions and files by REST, against a small MLflow made of fixed answers."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

PLACE = "1/models/m-1/artifacts"
MODELS = {
    "iris_model": {
        "name": "iris_model",
        "latest_versions": [{"version": "2"}, {"version": "10"}],
        "aliases": [{"alias": "champion", "version": "2"}],
    },
    "empty": {"name": "empty"},
    "elsewhere": {"name": "elsewhere", "latest_versions": [{"version": "1"}]},
}
VERSIONS = {("iris_model", "2"), ("iris_model", "10"), ("elsewhere", "1")}


class Mlflow(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        status, body = self._answer(address.path.removeprefix("/mlflow/api/2.0/"), query)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, path, query):
        name = query.get("name")
        match path:
            case "mlflow/registered-models/get" if "/" in name:
                return 400, {"error_code": "INVALID_PARAMETER_VALUE"}
            case "mlflow/registered-models/get":
                return (200, {"registered_model": MODELS[name]}) if name in MODELS else (404, {})
            case "mlflow/registered-models/search":
                return 200, {"registered_models": list(MODELS.values())}
            case "mlflow/model-versions/search":
                assert query["filter"] == "name='iris_model'"
                return 200, {"model_versions": [{"version": "10"}, {"version": "2"}]}
            case "mlflow/model-versions/get-download-uri" if (name, query["version"]) in VERSIONS:
                return 200, {"artifact_uri": "s3://a/b" if name == "elsewhere" else f"mlflow-artifacts:/{PLACE}"}
            case "mlflow/model-versions/get-download-uri":
                return 404, {}
            case "mlflow-artifacts/artifacts/1/models/m-1/artifacts/MLmodel":
                return 200, b"flavors: {}"
            case "mlflow-artifacts/artifacts/1/models/m-1/artifacts/broken":
                return 500, b"oh no"
        return 404, {}

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def registry(load):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mlflow)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield load("registry").Registry(f"http://127.0.0.1:{server.server_port}/mlflow")
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def version(load):
    return load("registry").ModelVersion("iris_model", "10", PLACE)


@pytest.mark.parametrize(("wanted", "number"), [("latest", "10"), ("2", "2"), ("@champion", "2")])
def test_it_works(load, registry, wanted, number):
    found = registry.resolve("iris_model", wanted)

    assert found == load("registry").ModelVersion("iris_model", number, PLACE)
    assert found.uri == f"models:/iris_model/{number}"


@pytest.mark.parametrize(
    ("name", "wanted", "message"),
    [
        ("nobody", "latest", "/model_name: There is no model 'nobody'. Registered: iris_model, empty, elsewhere."),
        ("a/b", "latest", "/model_name: There is no model 'a/b'. Registered: iris_model, empty, elsewhere."),
        ("empty", "latest", "/model_name: Model 'empty' has no versions. Invoke train first."),
        ("iris_model", "3", "/model_version: Model 'iris_model' has no version '3'. Versions: 10, 2."),
        (
            "iris_model",
            "9" * 30,
            f"/model_version: Model 'iris_model' has no version '{'9' * 30}'. Versions: 10, 2.",
        ),
        (
            "iris_model",
            "@x",
            "/model_version: Model 'iris_model' has no alias '@x'. @champion is version 2; latest is version 10.",
        ),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(load, registry, name, wanted, message):
    with pytest.raises(load("errors").ModelNotFound) as missing:
        registry.resolve(name, wanted)

    assert missing.value.args == (message,)


def test_a_version_whose_number_is_known(load, registry, version):
    assert registry.locate("iris_model", "10") == version
    with pytest.raises(load("errors").ModelNotFound, match=r"/model_version: Model 'iris_model' has no version '3'\."):
        registry.locate("iris_model", "3")


def test_files_that_mlflow_does_not_serve_are_refused(load, registry):
    for find in (registry.resolve, registry.locate):
        with pytest.raises(load("errors").UnsupportedModel, match="s3://a/b"):
            find("elsewhere", "1")


def test_reading_a_file(registry, version):
    assert registry.read(version, "MLmodel", 100) == b"flavors: {}"


def test_a_missing_and_a_too_large_file(load, registry, version):
    with pytest.raises(load("errors").UnsupportedModel, match="has no file nothing"):
        registry.read(version, "nothing", 100)
    with pytest.raises(load("errors").UnsupportedModel, match="larger"):
        registry.read(version, "MLmodel", 10)


def test_mlflow_failing(load, registry, version):
    with pytest.raises(load("errors").DependencyUnavailable, match=r"answered 500 .* oh no"):
        registry.read(version, "broken", 100)


def test_mlflow_away(load):
    away = load("registry").Registry("http://127.0.0.1:1/mlflow")

    with pytest.raises(load("errors").DependencyUnavailable, match=r"http://127\.0\.0\.1:1/mlflow cannot be reached"):
        away.resolve("iris_model", "latest")
