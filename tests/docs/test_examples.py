"""The examples in the documents are real: files that work, answers of the API, names and numbers of the code."""

import importlib.util
import json
import re
import time
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from function_runner.api.schemas import (
    FunctionAnswer,
    FunctionLimits,
    FunctionPool,
    InvocationAnswer,
    PoolStatus,
    Problem,
    Record,
    TimingsAnswer,
)
from function_runner.callback_rules import signature
from function_runner.catalog import Catalog
from function_runner.docker_spec import container_spec
from function_runner.function import LONG_TIMEOUT, WARM_GROWTH, WARM_LIMIT, Function, Manifest
from function_runner.invocation import ModelVersion, Start
from function_runner.pool import MAX_READY, PoolState, PoolTotals
from function_runner.settings import HOUSE_MB, Settings
from support.paths import ROOT, TRACKED

README = "README.md"
OPERATIONS = "docs/operations.md"
LIFE = "docs/life-of-an-invocation.md"
FUNCTIONS = "docs/functions.md"
API = "docs/api.md"
DOCUMENTS = [str(path) for path in TRACKED if path.suffix == ".md" and path.parts[0] in (README, "docs")]

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HERE_DOCUMENT = re.compile(r"^cat > (\S+) <<'(\w+)'\n(.*?)^\2$", re.MULTILINE | re.DOTALL)
ONE_LINER = re.compile(r"^echo '([^']*)' > (\S+)$", re.MULTILINE)
TABLE_ROW = re.compile(r"^\| `([A-Z_]+)` \| ([^|]*) \|", re.MULTILINE)


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name, language):
    return [body for found, body in BLOCK.findall(text(name)) if found == language]


def shell_lines():
    """Every command in the documents, with its continuation lines joined and what a here-document holds left out."""
    for document in DOCUMENTS:
        for block in blocks(document, "bash"):
            joined = HERE_DOCUMENT.sub("", block).replace("\\\n", " ")
            yield from ((document, line.strip()) for line in joined.splitlines() if line.strip())


# --- commands ---------------------------------------------------------------------------------------------------------


def test_commands_name_scripts_that_exist():
    named = {word for _, line in shell_lines() for word in re.findall(r"(?<!\S)(?:\./|tests/)[\w/.-]+\.sh", line)}

    assert {"./start.sh", "tests/run.sh", "./view_logs.sh", "./check_recent_logs.sh"} <= named
    assert not {word for word in named if not (ROOT / word).is_file()}


def test_commands_use_options_that_the_scripts_know():
    for document, line in shell_lines():
        script = re.search(r"(?:\./|tests/)[\w/]+\.sh", line)
        if script and "curl" not in line:
            for option in re.findall(r"(?<=\s)--?[a-z][a-z-]*", line[script.end() :]):
                assert option in text(script.group()), f"{document}: {line}"


def test_commands_use_variables_and_names_of_ours():
    compose = text("docker-compose.yml")
    for document, line in shell_lines():
        for volume in re.findall(r"smlops-((?:runner|mlflow)-(?:data|socket))", line):
            assert f"-{volume}" in compose, f"{document}: {line}"
        for container in re.findall(r"docker logs smlops-(\w+)", line):
            assert f"container_name: ${{STACK:-smlops}}-{container}" in compose, f"{document}: {line}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_that_are_named_exist(document):
    tracked = {str(path) for path in TRACKED}
    for name in re.findall(
        r"`((?:functions|function-runner|nginx|mlflow|web-ui|tests|docs)/[\w./-]*\w)`", text(document)
    ):
        if name.split("/")[-1] not in ("hello", "function"):
            assert (ROOT / name).exists() or name in tracked, f"{document} names {name}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_headings_that_exist(document):
    for target in re.findall(r"\]\(([^)\s]*#[^)\s]+)\)", text(document)):
        path, _, anchor = target.partition("#")
        if not path.startswith("http"):
            there = (ROOT / document).parent / path if path else ROOT / document
            assert anchor in anchors(there), f"{document} links to {target}"


def anchors(path: Path):
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- the function of the README ---------------------------------------------------------------------------------------


@pytest.fixture
def hello(tmp_path) -> Function:
    """The README's function, from the files that its commands write."""
    commands = "\n".join(blocks(README, "bash"))
    files = {name: body for name, _, body in HERE_DOCUMENT.findall(commands)}
    files |= {name: body + "\n" for body, name in ONE_LINER.findall(commands)}
    for name, body in files.items():
        if name.startswith("functions/"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(body, encoding="utf-8")
    return Catalog(Settings(functions_dir=tmp_path / "functions")).get("hello")


def handler_of(function: Function):
    specification = importlib.util.spec_from_file_location("hello_handler", function.folder / "handler.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.handler


class Context:
    aws_request_id = "an id"


def test_the_readmes_function_gives_the_readmes_answer(hello):
    call = re.search(r"""-d '(\{"function": "hello".*?\})'$""", text(README), re.MULTILINE)
    answer = next(found for found in json_answers(README) if found.get("function") == "hello")
    parameters = hello.validate(json.loads(call.group(1))["parameters"])

    assert handler_of(hello)(parameters, Context()) == answer["result"]


def test_the_readmes_function_takes_its_own_examples(hello):
    assert hello.examples
    for example in hello.examples:
        hello.validate(example["parameters"])


def test_the_readmes_function_needs_the_client_that_the_shipped_ones_have(hello):
    wanted = (hello.folder / "requirements.txt").read_text().strip()

    assert wanted in text("functions/train/requirements.txt")


# --- answers ----------------------------------------------------------------------------------------------------------


def json_answers(document):
    return [json.loads(block) for block in blocks(document, "json")]


@pytest.mark.parametrize("document", [README, API])
def test_answers_have_the_shape_of_the_api(document):
    for answer in json_answers(document):
        if "invocation_id" in answer:
            assert set(answer) == set(InvocationAnswer.model_fields)
            InvocationAnswer.model_validate(answer)
            assert set(answer["timings"]) == set(TimingsAnswer.model_fields)
        elif "log_tail" in answer:
            assert set(answer) == set(FunctionPool.model_fields)
            FunctionPool.model_validate(answer)
        elif "type" in answer:
            assert set(answer) <= set(Problem.model_fields)
            Problem.model_validate(answer)


def test_the_answers_of_train_and_predict_have_every_promised_field():
    train, predict = (
        next(found["result"] for found in json_answers(README) if found.get("function") == name)
        for name in ("train", "predict")
    )

    assert set(train) == {
        *("accuracy", "precision", "recall", "f1_score", "training_time_seconds", "model_name", "model_version"),
        *("model_uri", "run_id", "experiment_id", "parameters", "confusion_matrix", "feature_importances"),
    }
    assert set(predict) == {
        *("prediction", "probabilities", "model_name", "model_version", "model_uri", "model_format"),
    }


def test_the_answers_of_the_readme_come_from_containers_that_were_ready():
    assert {found["start"] for found in json_answers(README) if "start" in found} == {"warm"}


@pytest.mark.parametrize("field", sorted({*Record.model_fields, *Problem.model_fields, *FunctionAnswer.model_fields}))
def test_every_field_of_a_record_a_function_and_a_problem_is_documented(field):
    assert f"`{field}`" in text(API) or f'"{field}"' in text(API)


POOL_FIELDS = {*FunctionPool.model_fields, *PoolStatus.model_fields, *(entry.name for entry in fields(PoolTotals))}


@pytest.mark.parametrize(
    "word",
    sorted({*POOL_FIELDS, *FunctionLimits.model_fields, *TimingsAnswer.model_fields, *get_args(PoolState), *Start}),
)
def test_every_word_about_the_pool_and_the_phases_is_documented(word):
    assert f"`{word}`" in text(API)


def test_the_life_of_an_invocation_tells_every_phase():
    assert not {name for name in TimingsAnswer.model_fields if f"`{name}`" not in text(LIFE)}


def test_every_error_of_nginx_is_documented():
    codes = set(re.findall(r'"code": "([a-z_]+)"', text("nginx/problems.conf")))

    assert not {code for code in codes if f"`{code}`" not in text(API)}


def test_the_check_of_a_callback_that_is_shown_works():
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", text(API), re.DOTALL) if "is_genuine" in block]
    shown: dict = {}
    exec(block, shown)
    settings = Settings(callback_secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    secret, now = settings.callback_secret.get_secret_value(), int(time.time())

    def is_genuine(body, timestamp=now):
        sent = signature(settings.callback_key, "5", timestamp, b'{"a": 1}')
        headers = {"webhook-id": "5", "webhook-timestamp": str(timestamp), "webhook-signature": sent}
        return shown["is_genuine"](secret, headers, body)

    assert is_genuine(b'{"a": 1}')
    assert not is_genuine(b'{"a": 2}')
    assert not is_genuine(b'{"a": 1}', timestamp=now - 3600)


# --- settings, limits, timeouts ---------------------------------------------------------------------------------------

IN_WORDS = {
    "MAX_CONCURRENCY",
    "FUNCTIONS_MEMORY",
    "POOL_MEMORY",
    "RUNTIME_API_HOST",
    "BUILD_NETWORK",
    "CALLBACK_ALLOWED_HOSTS",
    "CALLBACK_SECRET",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "PYTHON_IMAGE",
}


def test_operations_lists_every_setting_once():
    rows = [name for name, _ in TABLE_ROW.findall(text(OPERATIONS))]

    assert len(rows) == len(set(rows))
    wanted = {name.upper() for name in Settings.model_fields} | set(
        re.findall(r"\$\{([A-Z][A-Z0-9_]*)", text("docker-compose.yml"))
    )
    assert wanted <= set(rows)


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name.upper() not in IN_WORDS])
def test_operations_gives_the_default_of_the_code(name):
    shown = dict(TABLE_ROW.findall(text(OPERATIONS)))[name.upper()].strip()
    default = getattr(Settings(), name)
    if isinstance(default, tuple):
        default = ",".join(default)

    assert shown.split(" ")[0].strip("`") == (f"{default:g}" if isinstance(default, float) else str(default))


@pytest.mark.parametrize("document", [README, OPERATIONS])
def test_the_memory_that_is_left_for_functions_is_told(document):
    row = next(line for line in text(document).splitlines() if line.startswith("| `FUNCTIONS_MEMORY` |"))

    assert f"without {HOUSE_MB} MB" in row
    assert "at least 1024" in row


def test_the_limits_of_the_pool_are_told():
    limits = text(OPERATIONS).split("\n## Limits\n")[1].split("\n## ")[0]

    assert f"{WARM_LIMIT} of one function, {MAX_READY} in all" in limits
    assert f"`timeout` above {LONG_TIMEOUT:g} s" in limits


def test_the_readme_and_operations_explain_the_same_settings():
    table = text(README).split("\n## Settings\n")[1].split("\n## ")[0]
    rows = {name for name, _ in TABLE_ROW.findall(text(OPERATIONS).split("### Inside the runner's container")[0])}

    assert {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([A-Z_]+)`", line.split("|")[1])
    } == rows


def test_each_timeout_fits_into_the_next():
    settings = Settings()
    patience = int(re.search(r"proxy_read_timeout (\d+)s;", text("nginx/proxy.conf")).group(1))
    farewell = int(re.search(r"worker_shutdown_timeout (\d+)s;", text("nginx/nginx.conf")).group(1))
    grace = int(re.search(r"stop_grace_period: (\d+)s", text("docker-compose.yml").split("\n  mlflow:\n")[0]).group(1))

    assert settings.default_timeout <= settings.max_timeout < settings.sync_wait_limit < patience <= farewell
    assert settings.drain_seconds < grace
    for number in (settings.sync_wait_limit, patience, grace):
        assert re.search(rf"\b{number:g}\b", text(OPERATIONS)), number


# --- the function contract --------------------------------------------------------------------------------------------


def test_every_variable_of_a_container_is_documented(hello):
    spec = container_spec(
        hello,
        Settings(),
        name="hello-0123456789ab",
        token="0" * 32,
        image="an/image",
        image_id="sha256:0",
        base_image_id="sha256:1",
        runtime_address=("10.0.0.2", 9001),
        instance="an instance",
        host_cpus=2,
        in_advance=True,
        model=ModelVersion("iris_model", "1"),
    )
    names = {entry.partition("=")[0] for entry in spec.config["Env"]}

    assert not {name for name in names if f"`{name}`" not in text(FUNCTIONS)}


@pytest.mark.parametrize("in_advance", [False, True])
def test_how_a_container_learns_why_it_was_made_is_documented(hello, in_advance):
    spec = container_spec(
        hello,
        Settings(),
        name="hello-0123456789ab",
        token="0" * 32,
        image="an/image",
        image_id="sha256:0",
        runtime_address=("10.0.0.2", 9001),
        instance="an instance",
        host_cpus=2,
        in_advance=in_advance,
    )
    variables = dict(entry.split("=", 1) for entry in spec.config["Env"])

    assert f"`{variables['AWS_LAMBDA_INITIALIZATION_TYPE']}`" in text(FUNCTIONS)


@pytest.mark.parametrize("key", ["warm", "warm_max_age", "invocations_per_container", "max_idle"])
def test_the_default_of_a_manifest_key_is_that_of_the_code(key):
    shown = re.search(rf"^\| `{key}` \| ([^|]*) \|", text(FUNCTIONS), re.MULTILINE).group(1)

    assert shown == f"{getattr(Manifest(), key):g}"


def test_how_far_warm_grows_is_that_of_the_code():
    assert f"| `warm_max` | {WARM_GROWTH} times `warm`, at most {WARM_LIMIT} |" in text(FUNCTIONS)


def test_every_hint_for_forms_is_documented():
    hints = set(re.findall(r"x-source: [a-z-]+|x-advanced: true", text("web-ui/js/schema-form.js")))

    assert hints
    assert not {hint for hint in hints if f"`{hint}`" not in text(FUNCTIONS)}


@pytest.mark.parametrize("function", ["train", "predict"])
def test_every_parameter_of_the_shipped_functions_is_documented(function):
    schema = Catalog(Settings(functions_dir=ROOT / "functions")).get(function).schema
    section = text(FUNCTIONS).split(f"\n## {function}\n")[1].split("\n## ")[0]

    assert not {name for name in schema["properties"] if f"`{name}`" not in section}
