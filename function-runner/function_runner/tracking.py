"""What MLflow knows: models, their versions, experiments and runs, through its REST API; and moves of aliases.

MLflow's own client is not used: importing it costs more than a second of CPU and 100 MB, for a handful of requests.
Answers are plain dicts in the words of our API; nothing is kept between calls.
"""

import base64
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter

from function_runner.errors import ExperimentNotFound, FieldError, InvalidRequest, MlflowUnavailable, ModelNotFound

OK = 200
CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
CHECK_SECONDS = 3.0  # whoever asks whether MLflow is there does not wait long
VERSIONS_AT_ONCE = 1000  # when all of them are wanted
NAMES_SHOWN = 20  # of what exists, in a message about what does not

NUMBER = re.compile(r"[0-9]{1,9}")  # longer ones do not fit MLflow's columns, and fail there instead of not being found
RUN_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
ALIAS = re.compile(r"[\w-]{1,255}")
RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)

Json = dict[str, Any]


class Tracking:
    """Reads from one MLflow server, and moves aliases in it. Safe to share between threads.

    Every method raises `MlflowUnavailable` when MLflow does not answer as expected.
    """

    def __init__(self, tracking_uri: str, public_prefix: str = "/mlflow") -> None:
        """Nothing is asked yet.

        Args:
            tracking_uri: where MLflow is for us.
            public_prefix: where its pages are for the users of our API, as a path of the same site.
        """
        self._base = tracking_uri.rstrip("/")
        self._pages = public_prefix.rstrip("/")
        self._session = requests.Session()
        # A proxy for the world outside must not be asked for MLflow.
        self._session.trust_env = False
        self._session.mount(self._base, HTTPAdapter(pool_maxsize=16))

    def check(self) -> None:
        """Raises `MlflowUnavailable` unless MLflow says that it is well."""
        self._text("/health")

    def version(self) -> str:
        """MLflow's version, e.g. ``3.17.2``."""
        return self._text("/version").strip()

    def models(self, limit: int = 50, page_token: str | None = None) -> Json:
        """A page of the registered models, by name.

        Raises:
            InvalidRequest: ``page_token`` is not one of MLflow's.
        """
        page = self._get("registered-models/search", max_results=limit, page_token=page_token, order_by="name ASC")
        models = [self._model(model) for model in page.get("registered_models", ())]
        return {"models": models, "next_page_token": page.get("next_page_token") or None}

    def model(self, name: str, *, within: float = READ_SECONDS) -> Json:
        """One registered model; ``within`` so many seconds.

        Raises:
            ModelNotFound: there is none of this name; the message names those that exist.
        """
        try:
            found = self._call("GET", "registered-models/get", within=within, params={"name": name})
            return self._model(found["registered_model"])
        except _Refused as error:
            raise ModelNotFound(f"There is no model {_shown(name)}. {self._existing_models()}") from error

    def model_versions(self, name: str, limit: int = 50, page_token: str | None = None) -> Json:
        """A page of a model's versions, newest first, each with the metrics and parameters of the run that made it.

        Raises:
            ModelNotFound: there is no such model.
            InvalidRequest: ``page_token`` is not one of MLflow's.
        """
        model = self.model(name)
        page = self._get(
            "model-versions/search",
            filter=_name_filter(name),
            order_by="version_number DESC",
            max_results=limit,
            page_token=page_token,
        )
        found = [version for version in page.get("model_versions", ()) if version["name"] == name]
        runs = self._runs({version.get("run_id", "") for version in found})
        versions = [self._version(version, model, runs) for version in found]
        return {"versions": versions, "next_page_token": page.get("next_page_token") or None}

    def model_version(self, name: str, version: str) -> Json:
        """One version of a model, by its number, as ``latest`` or as ``@alias``.

        Raises:
            ModelNotFound: there is no such model or version; the message names those that exist.
        """
        return self.some_versions(name, [version])[0]

    def some_versions(self, name: str, versions: Sequence[str]) -> list[Json]:
        """Several versions of a model, in this order, each as `model_version` would give it.

        Raises:
            ModelNotFound: there is no such model or version; the message names those that exist.
        """
        model = self.model(name)
        found = []
        for number in [self._resolve(model, version) for version in versions]:
            try:
                found.append(self._get("model-versions/get", name=name, version=number)["model_version"])
            except _Refused as error:
                raise self._no_version(name, number) from error
        runs = self._runs({version.get("run_id", "") for version in found})
        return [self._version(version, model, runs) for version in found]

    def set_alias(self, model: Json, alias: str, version: str) -> str:
        """Let an alias of this model (as `model` gave it) mean a version, and return the version's number.

        Args:
            version: a number, ``latest`` or ``@alias``.

        Raises:
            ModelNotFound: there is no such version; the message names those that exist.
        """
        name, number = model["name"], str(int(self._resolve(model, version)))
        try:
            self._post("registered-models/alias", name=name, alias=alias, version=number)
        except _Refused as error:
            raise self._no_version(name, number) from error
        return number

    def delete_alias(self, name: str, alias: str) -> None:
        """Let a model have no such alias, whether it had one or not.

        Raises:
            ModelNotFound: there is no such model.
        """
        try:
            self._call("DELETE", "registered-models/alias", json={"name": name, "alias": alias})
        except _Refused as error:
            raise ModelNotFound(f"There is no model {_shown(name)}. {self._existing_models()}") from error

    def runs_of_versions(self) -> frozenset[str]:
        """The runs that the registered model versions came from, of all versions that exist."""
        found: set[str] = set()
        token = None
        while True:
            page = self._get("model-versions/search", max_results=VERSIONS_AT_ONCE, page_token=token)
            found.update(version["run_id"] for version in page.get("model_versions", ()) if version.get("run_id"))
            token = page.get("next_page_token") or None
            if token is None:
                return frozenset(found)

    def experiments(self, limit: int = 50, page_token: str | None = None) -> Json:
        """A page of the experiments that are not deleted, the last changed first.

        Raises:
            InvalidRequest: ``page_token`` is not one of MLflow's.
        """
        page = self._post(
            "experiments/search", max_results=limit, page_token=page_token, order_by=["last_update_time DESC"]
        )
        experiments = [self._experiment(experiment) for experiment in page.get("experiments", ())]
        return {"experiments": experiments, "next_page_token": page.get("next_page_token") or None}

    def runs(self, experiment_id: str, limit: int = 50, page_token: str | None = None) -> Json:
        """A page of an experiment's runs that are not deleted, the last started first.

        Raises:
            ExperimentNotFound: there is no such experiment; the message names those that exist.
            InvalidRequest: ``page_token`` is not one of MLflow's.
        """
        self._require_experiment(experiment_id)  # MLflow finds no runs in what does not exist, and no fault with it
        page = self._post(
            "runs/search",
            experiment_ids=[experiment_id],
            max_results=limit,
            page_token=page_token,
            order_by=["attributes.start_time DESC"],
        )
        runs = [self._run(run) for run in page.get("runs", ())]
        return {"runs": runs, "next_page_token": page.get("next_page_token") or None}

    # --- finding ----------------------------------------------------------------------------------------------------

    def _resolve(self, model: Json, version: str) -> str:
        """The number of the version that is asked for."""
        name = model["name"]
        if version == "latest":
            if model["latest_version"] is None:
                raise ModelNotFound(f"Model {_shown(name)} has no versions yet.")
            return str(model["latest_version"])
        if version.startswith("@"):
            if (number := model["aliases"].get(version[1:])) is None:
                known = _list(f"@{alias}" for alias in sorted(model["aliases"]))
                raise ModelNotFound(
                    f"Model {_shown(name)} has no alias {_shown(version[1:])}. There is: {known or 'none'}."
                )
            return str(number)
        if not NUMBER.fullmatch(version):
            raise ModelNotFound(
                f"Model {_shown(name)} has no version {_shown(version)}: a version is a number, `latest` or `@alias`. "
                + self._existing_versions(name)
            )
        return version

    def _require_experiment(self, experiment_id: str) -> None:
        try:
            if not experiment_id.isdecimal() or len(experiment_id) > 18:
                raise _Refused("not a number")
            self._get("experiments/get", experiment_id=experiment_id)
        except _Refused as error:
            known = self._post("experiments/search", max_results=NAMES_SHOWN).get("experiments", ())
            words = _list(f"{experiment['experiment_id']} ({experiment['name']})" for experiment in known)
            raise ExperimentNotFound(
                f"There is no experiment {_shown(experiment_id)}. There is: {words or 'none'}."
            ) from error

    def _no_version(self, name: str, number: str) -> ModelNotFound:
        return ModelNotFound(f"Model {_shown(name)} has no version {number}. {self._existing_versions(name)}")

    def _existing_models(self) -> str:
        page = self.models(limit=NAMES_SHOWN)
        names = _list(model["name"] for model in page["models"])
        if not names:
            return "There are no models yet; the function `train` makes one."
        return f"There is: {names}{' and more' if page['next_page_token'] else ''}."

    def _existing_versions(self, name: str) -> str:
        page = self._get(
            "model-versions/search",
            filter=_name_filter(name),
            order_by="version_number DESC",
            max_results=NAMES_SHOWN,
        )
        numbers = _list(version["version"] for version in page.get("model_versions", ()) if version["name"] == name)
        return f"There is: {numbers or 'none'}{' and older' if page.get('next_page_token') else ''}."

    def _runs(self, run_ids: Iterable[str]) -> dict[str, Json]:
        """These runs, deleted ones included, by id; without those that are gone.

        MLflow finds many runs at once only within experiments that are named, and versions do not name theirs. So the
        experiment of one run is looked up and searched for all of them; mostly, it is everybody's.
        """
        missing = {run_id for run_id in run_ids if RUN_ID.fullmatch(run_id)}
        found: dict[str, Json] = {}
        while missing:
            run_id = missing.pop()
            try:
                run = self._get("runs/get", run_id=run_id)["run"]
            except _Refused:
                continue
            found[run_id] = self._run(run)
            if not missing:
                break
            wanted = _list(f"'{other}'" for other in sorted(missing))
            page = self._post(
                "runs/search",
                experiment_ids=[run["info"]["experiment_id"]],
                filter=f"attributes.run_id IN ({wanted})",
                run_view_type="ALL",
                max_results=len(missing),
            )
            for run in page.get("runs", ()):
                found[run["info"]["run_id"]] = self._run(run)
                missing.discard(run["info"]["run_id"])
        return found

    # --- from MLflow's words to ours --------------------------------------------------------------------------------

    def _model(self, model: Json) -> Json:
        # One latest version for each stage; ours is the latest of all.
        versions = [int(version["version"]) for version in model.get("latest_versions", ())]
        return {
            "name": model["name"],
            "description": model.get("description") or None,
            "created_at": _moment(model.get("creation_timestamp")),
            "updated_at": _moment(model.get("last_updated_timestamp")),
            "latest_version": str(max(versions)) if versions else None,
            "aliases": {alias["alias"]: str(alias["version"]) for alias in model.get("aliases", ())},
            "tags": _pairs(model.get("tags", ())),
            "mlflow_url": f"{self._pages}/#/models/{quote(model['name'], safe='')}",
        }

    def _version(self, version: Json, model: Json, runs: Mapping[str, Json]) -> Json:
        name, number = version["name"], str(version["version"])
        run = runs.get(version.get("run_id", ""), {})
        return {
            "name": name,
            "version": number,
            "created_at": _moment(version.get("creation_timestamp")),
            "status": version.get("status"),
            "run_id": version.get("run_id") or None,
            "source": version.get("source") or None,
            "description": version.get("description") or None,
            "aliases": sorted(alias for alias, target in model["aliases"].items() if target == number),
            "tags": _pairs(version.get("tags", ())),
            "metrics": run.get("metrics", {}),
            "parameters": run.get("parameters", {}),
            "model_uri": f"models:/{name}/{number}",
            "mlflow_url": f"{self._pages}/#/models/{quote(name, safe='')}/versions/{number}",
        }

    def _experiment(self, experiment: Json) -> Json:
        return {
            "experiment_id": experiment["experiment_id"],
            "name": experiment["name"],
            "lifecycle_stage": experiment.get("lifecycle_stage"),
            "created_at": _moment(experiment.get("creation_time")),
            "updated_at": _moment(experiment.get("last_update_time")),
            "tags": _pairs(experiment.get("tags", ())),
            "mlflow_url": f"{self._pages}/#/experiments/{experiment['experiment_id']}",
        }

    def _run(self, run: Json) -> Json:
        info, data = run["info"], run.get("data", {})
        return {
            "run_id": info["run_id"],
            "run_name": info.get("run_name") or None,
            "status": info.get("status"),
            "started_at": _moment(info.get("start_time")),
            "finished_at": _moment(info.get("end_time")),
            "metrics": {metric["key"]: _finite(metric["value"]) for metric in data.get("metrics", ())},
            "parameters": _pairs(data.get("params", ())),
            "tags": _pairs(data.get("tags", ())),
            "mlflow_url": f"{self._pages}/#/experiments/{info['experiment_id']}/runs/{info['run_id']}",
        }

    # --- asking -----------------------------------------------------------------------------------------------------

    def _get(self, path: str, **query: Any) -> Json:
        _check_page_token(query.get("page_token"))
        return self._call("GET", path, params={key: value for key, value in query.items() if value is not None})

    def _post(self, path: str, **body: Any) -> Json:
        _check_page_token(body.get("page_token"))
        return self._call("POST", path, json={key: value for key, value in body.items() if value is not None})

    def _call(self, method: str, path: str, *, within: float = READ_SECONDS, **request: Any) -> Json:
        response = self._request(method, f"/api/2.0/mlflow/{path}", within, **request)
        try:
            answer = response.json()
        except requests.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise MlflowUnavailable(f"MLflow answered {path} with status {response.status_code}, and not in JSON.")
        if response.status_code == OK:
            return answer
        message = str(answer.get("message", ""))[:300]
        if response.status_code in (400, 404):
            raise _Refused(f"MLflow refused {path}: {message}")
        raise MlflowUnavailable(f"MLflow answered {path} with status {response.status_code}: {message}")

    def _text(self, path: str) -> str:
        response = self._request("GET", path, CHECK_SECONDS)
        if response.status_code != OK:
            raise MlflowUnavailable(f"MLflow answered {path} with status {response.status_code}.")
        return response.text

    def _request(self, method: str, path: str, seconds: float, **request: Any) -> requests.Response:
        def send() -> requests.Response:
            return self._session.request(
                method,
                self._base + path,
                timeout=(min(CONNECT_SECONDS, seconds), seconds),
                allow_redirects=False,
                **request,
            )

        try:
            try:
                return send()
            except requests.Timeout:
                raise
            except requests.ConnectionError:
                # Perhaps a kept connection that was closed meanwhile. All that is asked for here may be done twice:
                # most of it only reads, POST included, and an alias that is moved twice is where it should be.
                return send()
        except requests.Timeout as error:
            raise MlflowUnavailable("MLflow did not answer in time; it may be starting or busy.") from error
        except requests.RequestException as error:
            raise MlflowUnavailable("MLflow cannot be reached; is its container running?") from error


class _Refused(MlflowUnavailable):
    """MLflow does not know what was asked for, or finds fault with it."""


def check_alias_name(alias: str) -> None:
    """Raises `InvalidRequest` for names that MLflow does not take."""
    complaint = None
    if not ALIAS.fullmatch(alias):
        complaint = "must be made of letters, digits, _ and -, at most 255"
    elif RESERVED_ALIAS.fullmatch(alias):
        complaint = "is reserved: `latest` and names such as `v3` mean versions by themselves"
    if complaint:
        raise InvalidRequest(
            f"{_shown(alias)} cannot be the name of an alias: it {complaint}.", errors=[FieldError("/alias", complaint)]
        )


def _check_page_token(token: str | None) -> None:
    """Raises `InvalidRequest` for what MLflow never handed out. MLflow itself answers some of that with status 500."""
    if token is None:
        return
    try:
        content = json.loads(base64.b64decode(token, validate=True))
        offset = content["offset"]
        if not isinstance(offset, int) or not 0 <= offset < 2**63:
            raise ValueError("not a place in a list")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRequest(
            "This page does not exist: take `page_token` from the `next_page_token` of another page.",
            errors=[FieldError("/page_token", "is not a token that was handed out here")],
        ) from error


def _name_filter(name: str) -> str:
    """MLflow's filter for a model's name. It has two kinds of quotes and no way to escape either.

    A name with both is searched by a pattern in which any character may stand for the one kind. So whoever uses a
    filter compares the names that it finds.
    """
    if "'" not in name:
        return f"name = '{name}'"
    if '"' not in name:
        return f'name = "{name}"'
    return "name LIKE '{}'".format(name.replace("'", "_"))


def _pairs(entries: Iterable[Json]) -> dict[str, str]:
    return {entry["key"]: entry.get("value", "") for entry in entries}


def _finite(value: Any) -> float | None:
    """A metric as a number. MLflow spells out what JSON cannot express, such as ``"NaN"``; to us, that is no number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _moment(milliseconds: Any) -> str | None:
    """MLflow's milliseconds as our text; 0 is its way of saying never."""
    try:
        moment = datetime.fromtimestamp(int(milliseconds or 0) / 1000, UTC)
    except (OverflowError, ValueError, TypeError, OSError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if milliseconds else None


def _shown(name: str) -> str:
    """A name in a message. Cut, because it is the caller's and may be long."""
    return repr(name if len(name) <= 60 else name[:57] + "...")


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)
