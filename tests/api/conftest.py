"""The Flask app with the real catalog, logs and metrics, and stand-ins for what is slow or far away.

Every answer that goes through the fixture ``client`` is checked against ``/openapi.json``: no test can see an answer
that is not described.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from function_runner import api
from function_runner.aliases import Aliases
from function_runner.api import Services
from function_runner.catalog import Catalog
from function_runner.followers import Followers
from function_runner.logs import LogStore
from function_runner.metrics import Metrics
from function_runner.settings import Settings
from function_runner.statistics import Statistics
from support.api import (
    ECHO_MANIFEST,
    NOW,
    CheckedClient,
    Description,
    Engine,
    Images,
    Invoker,
    Models,
    Pool,
    Retention,
    Store,
    Tracking,
    add_function,
)

PROBLEM = "application/problem+json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The functions folder, with the function ``echo``."""
    folder = tmp_path / "functions"
    add_function(folder, "echo", ECHO_MANIFEST)
    return folder


@pytest.fixture
def settings(tmp_path: Path, folder: Path) -> Settings:
    return make_settings(tmp_path, folder)


@pytest.fixture
def services(settings: Settings) -> Services:
    """Real catalog, logs and metrics; stand-ins for the rest."""
    return make_services(settings)


@pytest.fixture
def app(services: Services) -> Flask:
    return make_app(services)


@pytest.fixture(scope="session")
def description(tmp_path_factory: pytest.TempPathFactory) -> Description:
    """What ``/openapi.json`` says; made once, because it takes longer than most tests."""
    folder = tmp_path_factory.mktemp("description")
    services = make_services(make_settings(folder, folder / "functions"))
    return Description(make_app(services).test_client().get("/openapi.json").get_json())


@pytest.fixture
def client(app: Flask, description: Description) -> Iterator[FlaskClient]:
    """Sends requests as curl would, and checks every answer."""
    app.config["CHECK_ANSWER"] = description.check
    app.test_client_class = CheckedClient
    with app.test_client() as client:
        yield client


@pytest.fixture
def problem() -> Callable[[TestResponse, int, str], dict[str, Any]]:
    """Makes sure that an answer is this problem, and returns its document."""

    def check(response: TestResponse, status: int, code: str) -> dict[str, Any]:
        assert response.status_code == status, response.text
        assert response.content_type == PROBLEM
        document: dict[str, Any] = json.loads(response.data)
        assert document["status"] == status
        assert document["code"] == code
        assert document["type"] == "about:blank"
        assert document["title"]
        assert document["detail"]
        return document

    return check


def make_settings(folder: Path, functions: Path) -> Settings:
    """Settings with a secret wherever one may be."""
    (folder / "logs").mkdir()
    return Settings(
        functions_dir=functions,
        logs_dir=folder / "logs",
        database_url="postgresql://me:swordfish@db/records?password=swordfish",
        http_proxy="http://me:swordfish@proxy:3128",
        callback_secret="swordfish and more",
        callback_allowed_hosts=("swordfish.example",),
        mlflow_tracking_uri="http://me:swordfish@mlflow:5000/mlflow",
        allowed_hosts=("localhost", "[::1]", "house.example"),
        max_timeout=900,
        request_max_bytes=4096,
    )


def make_services(settings: Settings) -> Services:
    catalog = Catalog(settings)
    store, tracking, pool = Store(), Tracking(), Pool()
    logs = LogStore(settings.logs_dir, max_bytes=settings.log_max_bytes)
    return Services(
        settings=settings,
        catalog=catalog,
        store=store,
        logs=logs,
        tracking=tracking,
        aliases=Aliases(tracking, store, Models(), pool),
        statistics=Statistics(store),
        metrics=Metrics(),
        images=Images(),
        pool=pool,
        engine=Engine(),
        invoker=Invoker(catalog, store),
        followers=Followers(store, logs, pool, most=2),
        retention=Retention(),
        started_at=NOW,
    )


def make_app(services: Services) -> Flask:
    app = Flask("function_runner", static_folder=None)
    api.register(app, services)
    return app
