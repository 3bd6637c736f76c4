"""What the documents must say: every setting, error code and route, the commands as they are, links that lead on."""

import ast
import re
import shlex
import tomllib
from unittest.mock import MagicMock

import pytest

import function_runner
from function_runner import errors
from function_runner.api import all_routes
from function_runner.diagnosis import Kind
from function_runner.function import Manifest
from function_runner.metrics import Metrics
from function_runner.settings import Settings
from support.paths import ROOT, TRACKED

DOCUMENTS = [
    path for path in TRACKED if path.suffix == ".md" and path.parts[0] in ("README.md", "docs", "CHANGELOG.md")
]
README = "README.md"

# Set by docker-compose.yml for the inside of the containers; changing them there is not for users.
INNER = {
    *("ALLOWED_HOSTS", "DATABASE_URL", "DOCKER_HOST", "FUNCTIONS_DIR", "FUNCTIONS_NETWORK", "LOGS_DIR"),
    *("MLFLOW_TRACKING_URI", "RUNTIME_API_HOST", "RUNTIME_API_PORT"),
}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def all_text():
    return "\n".join(text(path) for path in DOCUMENTS)


def error_classes(root=errors.RunnerError):
    return [root, *(deeper for child in root.__subclasses__() for deeper in error_classes(child))]


def settings_of_compose():
    return set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)", text("docker-compose.yml")))


def settings_of_the_runner():
    """Those that compose passes on; the others cannot be changed from outside."""
    return {name.upper() for name in Settings.model_fields} & settings_of_compose()


@pytest.mark.parametrize("name", sorted((settings_of_compose() | settings_of_the_runner()) - INNER))
def test_the_readme_explains_every_setting(name):
    assert re.search(rf"`{name}`", text(README)), f"{name} is not explained in README.md"


@pytest.mark.parametrize(
    "name", sorted({name.upper() for name in Settings.model_fields} - settings_of_compose() - INNER)
)
def test_a_setting_that_cannot_be_set_from_outside_is_not_promised(name):
    assert f"`{name}`" not in text(README)


@pytest.mark.parametrize(
    "code", sorted({found.code for found in error_classes()} - {"settings_error", "invocation_failed"})
)
def test_every_error_code_is_documented(code):
    assert f"`{code}`" in all_text()


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_diagnosis_is_documented(kind):
    assert re.search(rf"^\| `{kind}` \|", text("docs/api.md"), re.M)


ROUTES = all_routes(MagicMock(settings=Settings()))


@pytest.mark.parametrize("route", [route for route in ROUTES if not route.hidden], ids=lambda route: route.name)
def test_every_route_is_documented(route):
    spelling = re.sub(r"\\\{\w+\\\}", r"[{<][\\w |@-]+[}>]", re.escape(route.path))
    assert re.search(rf"{route.method} {spelling}(?![\w/])", all_text()), f"{route.method} {route.path}"


@pytest.mark.parametrize("key", Manifest.model_fields)
def test_every_key_of_a_manifest_is_documented(key):
    assert re.search(rf"^\| `{key}` \|", text("docs/functions.md"), re.M)


METRICS = re.findall(r"^# TYPE (\w+) (?:counter|gauge|histogram)$", Metrics().render()[0].decode(), re.M)


@pytest.mark.parametrize("name", [name for name in METRICS if not name.endswith("_created")])
def test_every_metric_is_documented(name):
    assert f"`{name}`" in text("docs/operations.md")


def reasons_to_retire():
    """The words with which the pool ends environments that have no invocation."""
    source = "".join(text(f"function-runner/function_runner/pool/{name}.py") for name in ("pool", "planner"))
    deciding = next(
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == "_reason_to_retire"
    )
    decided = {
        node.value.value
        for node in ast.walk(deciding)
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Constant) and node.value.value
    }
    return decided | set(re.findall(r'(?:_retire\(\w+|\(victim), "(\w+)"', source))


@pytest.mark.parametrize("document", ["docs/operations.md", "docs/life-of-an-invocation.md"])
def test_every_reason_to_retire_a_container_is_documented(document):
    reasons = reasons_to_retire()

    assert {"age", "source", "memory"} <= reasons
    assert not {reason for reason in reasons if f"`{reason}`" not in text(document)}


def test_the_readme_has_the_two_calls_as_written():
    words = [shlex.split(block) for block in re.findall(r"^curl (?:.*\\\n)*.*$", text(README).replace("\r", ""), re.M)]
    bodies = [word for call in words for word in call if word.startswith("{")]

    assert '{"function": "train", "parameters": {"n_estimators": 100, "max_depth": 10, "test_size": 0.2}}' in bodies
    assert (
        '{"function": "predict", "parameters": '
        '{"model_name": "iris_model", "model_version": "latest", "features": [5.1, 3.5, 1.4, 0.2]}}'
    ) in bodies


def test_continuous_integration_runs_the_readmes_test_command():
    commands = [line for line in text(".ci/run").splitlines() if line and not line.startswith(("#", "set ", "cd "))]

    assert commands == ["exec tests/run.sh"]
    assert re.search(r"^(\./)?tests/run\.sh$", text(README), re.M)
    assert re.search(r"^\./start\.sh$", text(README), re.M)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_to_files_that_exist(document):
    for target in LINK.findall(text(document)):
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            continue
        path = (ROOT / document).parent / target.partition("#")[0]
        assert path.exists(), f"{document} links to {target}"


def test_the_documents_that_every_newcomer_needs_are_there():
    for name in (README, "docs/architecture.md", "docs/life-of-an-invocation.md", "CHANGELOG.md", "LICENSE"):
        assert (ROOT / name).is_file(), name


def test_the_changelog_knows_this_version():
    assert function_runner.__version__ in text("CHANGELOG.md")


def test_the_architecture_names_every_room():
    rooms = {
        path.stem for path in (ROOT / "function-runner/function_runner").iterdir() if not path.name.startswith("_")
    }

    missing = {room for room in rooms if not re.search(rf"`{room}(\.py|/)?`|\b{room}\b", text("docs/architecture.md"))}

    assert not missing


def test_the_architecture_shows_the_floors_that_are_checked():
    contracts = tomllib.loads(text("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    floors = re.findall(r"^\| \d \| ([^|]*) \|", text("docs/architecture.md"), re.M)

    assert [set(layer.split(" | ")) for layer in layers] == [set(re.findall(r"`(\w+)/?`", floor)) for floor in floors]
