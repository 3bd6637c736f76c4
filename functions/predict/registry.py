"""MLflow's registry and artifacts by plain REST: `import mlflow` alone would add a second to each cold start."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from errors import DependencyUnavailable, ModelNotFound, UnsupportedModel

CONNECT_SECONDS = 3
READ_SECONDS = 10
MAX_ANSWER_BYTES = 10 * 1024 * 1024
MAX_DIGITS = 9  # MLflow answers with an internal error to numbers its database cannot hold
LISTED = 20  # how many names an error message lists


@dataclass(frozen=True)
class ModelVersion:
    """One registered version of a model, and where its files are."""

    name: str
    version: str
    artifacts: str  # path below MLflow's artifact root

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"


class Registry:
    """The tracking server at `tracking_uri`. Every method raises DependencyUnavailable when it does not answer."""

    def __init__(self, tracking_uri: str):
        self._uri = tracking_uri
        address = urlsplit(tracking_uri)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise DependencyUnavailable(f"MLFLOW_TRACKING_URI is not an http address: {tracking_uri!r}")
        self._address = address

    def resolve(self, name: str, version: str) -> ModelVersion:
        """Find the version meant by a number, `latest` or `@alias`. Raises ModelNotFound, naming what exists."""
        with self._connection() as connection:
            model = self._ask(connection, "registered-models/get", name=name)
            if model is None:
                raise ModelNotFound(self._unknown_model(connection, name))
            number = _number(model["registered_model"], version)
            if number is None or not (place := self._place(connection, name, number)):
                raise ModelNotFound(self._unknown_version(connection, model["registered_model"], version))
            return ModelVersion(name, number, _artifact_path(place))

    def locate(self, name: str, number: str) -> ModelVersion:
        """Find the files of a version whose number is known, in one call. Raises ModelNotFound when there is none."""
        with self._connection() as connection:
            place = self._place(connection, name, number)
        if not place:
            raise ModelNotFound(f"/model_version: Model {name!r} has no version {number!r}.")
        return ModelVersion(name, number, _artifact_path(place))

    def read(self, model: ModelVersion, file: str, limit: int) -> bytes:
        """Return one of the model's files. Raises UnsupportedModel when it is missing or larger than `limit`."""
        path = f"/api/2.0/mlflow-artifacts/artifacts/{quote(model.artifacts)}/{quote(file)}"
        with self._connection() as connection:
            status, body = self._get(connection, path, limit)
        if status != http.HTTPStatus.OK:
            raise UnsupportedModel(f"{model.uri} has no file {file}")
        if len(body) > limit:
            raise UnsupportedModel(f"{file} of {model.uri} is larger than {limit // 2**20} MiB")
        return body

    @contextmanager
    def _connection(self) -> Iterator[http.client.HTTPConnection]:
        https = self._address.scheme == "https"
        connect = http.client.HTTPSConnection if https else http.client.HTTPConnection
        connection = connect(self._address.hostname, self._address.port, timeout=CONNECT_SECONDS)
        try:
            connection.connect()
            connection.sock.settimeout(READ_SECONDS)
            yield connection
        except (OSError, http.client.HTTPException) as error:
            raise DependencyUnavailable(f"MLflow at {self._uri} cannot be reached: {error or type(error)}") from error
        finally:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection, method: str, **query: str | int) -> Any:
        """Answer of a REST call, or None when MLflow says that there is no such thing (404), or can be none (400)."""
        status, body = self._get(connection, f"/api/2.0/mlflow/{method}?{urlencode(query)}", MAX_ANSWER_BYTES)
        try:
            answer = json.loads(body)
        except ValueError as error:
            raise DependencyUnavailable(f"MLflow at {self._uri} did not answer in JSON") from error
        return answer if status == http.HTTPStatus.OK else None

    def _get(self, connection: http.client.HTTPConnection, path: str, limit: int) -> tuple[int, bytes]:
        """Status and at most `limit` + 1 bytes of the body; any status but 200, 400 and 404 is a failure."""
        connection.request("GET", self._address.path.rstrip("/") + path, headers={"Accept": "application/json, */*"})
        response = connection.getresponse()
        body = response.read(limit + 1)
        if response.status not in (http.HTTPStatus.OK, http.HTTPStatus.BAD_REQUEST, http.HTTPStatus.NOT_FOUND):
            says = body[:500].decode(errors="replace")
            raise DependencyUnavailable(f"MLflow at {self._uri} answered {response.status} to {path}: {says}")
        return response.status, body

    def _place(self, connection: http.client.HTTPConnection, name: str, number: str) -> str | None:
        answer = self._ask(connection, "model-versions/get-download-uri", name=name, version=number)
        return answer and answer["artifact_uri"]

    def _unknown_model(self, connection: http.client.HTTPConnection, name: str) -> str:
        answer = self._ask(connection, "registered-models/search", max_results=LISTED)
        names = [model["name"] for model in (answer or {}).get("registered_models", [])]
        if not names:
            return f"/model_name: There is no model {name!r}: none is registered yet. Invoke train first."
        return f"/model_name: There is no model {name!r}. Registered: {_listed(names)}."

    def _unknown_version(self, connection: http.client.HTTPConnection, model: dict[str, Any], version: str) -> str:
        name, newest = model["name"], _number(model, "latest")
        if newest is None:
            return f"/model_name: Model {name!r} has no versions. Invoke train first."
        if version.startswith("@"):
            known = [f"@{alias['alias']} is version {alias['version']}" for alias in model.get("aliases", [])]
            aliases = _listed(known[:LISTED]) if known else "It has no aliases"
            return f"/model_version: Model {name!r} has no alias {version!r}. {aliases}; latest is version {newest}."
        quoted = name.replace("'", "''")
        query = {"filter": f"name='{quoted}'", "order_by": "version_number DESC", "max_results": LISTED}
        answer = self._ask(connection, "model-versions/search", **query)
        versions = [found["version"] for found in (answer or {}).get("model_versions", [])]
        return f"/model_version: Model {name!r} has no version {version!r}. Versions: {_listed(versions)}."


def _number(model: dict[str, Any], version: str) -> str | None:
    """The number meant by `latest`, `@alias` or a number; None when there is none."""
    if version == "latest":
        numbers = [int(latest["version"]) for latest in model.get("latest_versions", [])]
        return str(max(numbers)) if numbers else None
    if version.startswith("@"):
        return next((a["version"] for a in model.get("aliases", []) if a["alias"] == version[1:]), None)
    return version if len(version) <= MAX_DIGITS else None


def _artifact_path(uri: str) -> str:
    """`mlflow-artifacts:/1/models/m-…/artifacts` → `1/models/m-…/artifacts`; other places cannot be reached."""
    address = urlsplit(uri)
    path = address.path.strip("/")
    if address.scheme != "mlflow-artifacts" or not path or ".." in path.split("/"):
        raise UnsupportedModel(f"The model's files are at {uri}; only those that MLflow serves itself can be read here")
    return path


def _listed(names: list[str]) -> str:
    return ", ".join(names) + (", …" if len(names) == LISTED else "")
