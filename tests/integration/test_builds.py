"""Functions come and go as folders, while the system runs; images are built once, and again when a file changes."""

import re
import shutil

import pytest

from support.docker_cli import image_tags
from support.waiting import wait_until

HELLO = """\
    def handler(event, context):
        return {"hello": event.get("name", "nobody")}
    """

GREETING = """\
    description: Greets somebody
    parameters:
      type: object
      additionalProperties: false
      required: [name]
      properties:
        name: {type: string, minLength: 1, description: Whom to greet}
        loud: {type: boolean, default: false}
    examples:
      - {name: Ada, parameters: {name: Ada}}
    timeout: 20
    memory: 128
    """


def listed(stack):
    return {entry["name"]: entry for entry in stack.get("/functions").json["functions"]}


def test_the_shipped_functions_are_listed_with_their_forms(stack):
    functions = listed(stack)

    for name in ("train", "predict"):
        assert functions[name]["state"] == "ready"
        assert functions[name]["description"]
        assert functions[name]["parameters"]["type"] == "object"
        assert functions[name]["parameters"]["properties"]
        assert functions[name]["examples"]
        assert functions[name]["image"]["id"].startswith("sha256:")


def test_a_folder_dropped_in_is_listed_and_invocable(stack, drop):
    drop("hello", handler=HELLO, manifest=GREETING)

    entry = stack.get("/functions/hello").json
    assert entry["state"] == "not_built"
    assert entry["description"] == "Greets somebody"
    assert entry["parameters"]["required"] == ["name"]
    assert entry["limits"]["memory_mb"] == 128
    assert entry["limits"]["timeout"] == 20
    assert "hello" in listed(stack)
    assert stack.invoke("hello", {"name": "Ada"}).result == {"hello": "Ada"}
    assert stack.get("/functions/hello").json["state"] == "ready"
    problem = stack.invoke("hello", {"nam": "Ada"}).problem(422, "parameters_invalid")
    assert {"/nam", "/name"} == {error["pointer"] for error in problem["errors"]}


def test_a_folder_with_only_a_dockerfile_and_a_handler(stack, drop):
    folder = drop(
        "bare",
        handler=HELLO,
        remove=("function.yaml", "requirements.txt", "requirements.in", ".dockerignore", "README.md"),
        dockerfile="""\
            ARG PYTHON_IMAGE=python:3.11-slim-bookworm
            FROM ${PYTHON_IMAGE}
            RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir awslambdaric
            WORKDIR /var/task
            COPY handler.py .
            USER 10001:10001
            ENTRYPOINT ["/opt/venv/bin/python", "-m", "awslambdaric"]
            CMD ["handler.handler"]
            """,
    )
    assert sorted(path.name for path in folder.iterdir()) == ["Dockerfile", "handler.py"]

    assert stack.invoke("bare", {"name": "Ada", "anything": [1]}).result == {"hello": "Ada"}
    assert listed(stack)["bare"]["parameters"] is None or listed(stack)["bare"]["parameters"]["type"] == "object"


def test_an_edited_handler_is_what_runs_next(stack, drop):
    folder = drop("edited", handler="def handler(event, context):\n    return 'before'\n")
    first = stack.invoke("edited", {})
    assert first.result == "before"

    (folder / "handler.py").write_text("def handler(event, context):\n    return 'after'\n")

    second = stack.invoke("edited", {})
    assert second.result == "after"
    before, after = (stack.record(answer.json["invocation_id"]) for answer in (first, second))
    assert before["source_hash"] != after["source_hash"]
    assert before["image"]["id"] != after["image"]["id"]


def test_a_removed_folder_is_gone(stack, drop):
    folder = drop("short-lived", handler=HELLO)
    assert "short-lived" in listed(stack)

    shutil.rmtree(folder)

    assert "short-lived" not in listed(stack)
    stack.invoke("short-lived", {}).problem(404, "function_not_found")


def test_twenty_first_calls_build_one_image(stack, drop, background):
    drop("popular", handler=HELLO + "    # popular\n")

    answers = list(background.map(lambda _: stack.invoke("popular", {"name": "x"}), range(20)))

    assert [answer.status for answer in answers] == [200] * 20
    records = [stack.record(answer.json["invocation_id"]) for answer in answers]
    assert len({record["image"]["id"] for record in records}) == 1
    assert len(image_tags(f"{stack.name}/function-popular")) == 1
    builds = re.findall(
        r'^smlops_image_builds_total\{function="popular".*\} ([\d.]+)$', stack.get("/metrics").text, re.M
    )
    assert builds == ["1.0"]


def test_the_build_log_is_kept_and_shown(stack, drop):
    drop("logged", handler=HELLO + "    # logged\n")

    answer = stack.post("/functions/logged/build")

    assert answer.status == 200, answer.text
    assert answer.json["state"] == "ready"
    assert "FROM" in answer.json["log"]
    assert answer.json["image"]["tag"].startswith(f"{stack.name}/function-logged:")
    assert stack.get("/functions/logged/build/log").text == answer.json["log"]
    version = stack.get("/functions/logged").json["source_hash"][:12]
    assert (stack.logs_path / "builds" / f"logged-{version}.log").is_file()


def test_a_build_that_fails_says_why_and_recovers(stack, drop):
    folder = drop("broken", handler=HELLO)
    good = (folder / "Dockerfile").read_text()
    (folder / "Dockerfile").write_text(good + "RUN echo the-reason-is-here && exit 3\n")

    problem = stack.invoke("broken", {}).problem(500, "build_failed")

    assert "the-reason-is-here" in stack.get("/functions/broken/build/log").text
    assert problem["diagnosis"]["kind"] == "build_step"
    assert re.search(r"at Step \d+/\d+, RUN echo the-reason-is-here", problem["diagnosis"]["cause"])
    assert "the-reason-is-here" in problem["diagnosis"]["evidence"]
    assert problem["function"] == "broken"
    entry = stack.get("/functions/broken").json
    assert entry["state"] == "build_failed"
    assert entry["problem"]
    assert entry["diagnosis"] == problem["diagnosis"]
    stack.post("/functions/broken/build").problem(500, "build_failed")
    record = stack.record(problem["invocation_id"])
    assert record["status"] == "failed"
    assert record["error"]["code"] == "build_failed"

    (folder / "Dockerfile").write_text(good)
    assert stack.invoke("broken", {"name": "again"}).result == {"hello": "again"}


@pytest.mark.parametrize(
    "manifest",
    [
        "timeout: soon\n",
        "memory: -5\n",
        "unknown_key: 1\n",
        "parameters: [not, a, schema]\n",
        "parameters: {type: object, properties: {a: {type: nonsense}}}\n",
        "parameters: {$ref: 'http://evil.test/schema'}\n",
        "environment: {PATH: /evil}\n",
        "- just\n- a list\n",
        "a: b: c\n",
        "!!python/object/apply:os.system ['true']\n",
    ],
)
def test_a_manifest_that_cannot_be_used_is_named_and_disturbs_nobody(stack, drop, manifest):
    drop("odd", handler=HELLO, manifest=manifest)

    entry = listed(stack)["odd"]

    assert entry["state"] == "invalid"
    assert "function.yaml" in entry["problem"]
    stack.invoke("odd", {}).problem(409, "function_invalid")
    assert stack.invoke("echo", {}).status == 200


def test_a_folder_without_dockerfile_is_named(stack, drop):
    drop("empty", remove=("Dockerfile",))

    wait_until(lambda: "empty" in listed(stack), seconds=5, what="the folder is listed")
    assert listed(stack)["empty"]["state"] == "invalid"
    assert "Dockerfile" in listed(stack)["empty"]["problem"]


@pytest.mark.parametrize("name", ["Upper", "under_score", "9lives", "x" * 60, ".hidden"])
def test_a_folder_whose_name_cannot_be_one_is_never_run(stack, drop, name):
    drop(name, handler=HELLO)

    assert stack.invoke(name, {}).status in (400, 404, 409)
    assert stack.invoke("echo", {}).status == 200


def test_a_link_out_of_the_folder_does_not_bring_the_target_in(stack, drop):
    (stack.logs_path / "canary.txt").write_text("the-canary-is-out")
    folder = drop("linked", handler="def handler(event, context):\n    return open('/var/task/secret').read()\n")
    (folder / "secret").symlink_to("/logs/canary.txt")

    answer = stack.invoke("linked", {})

    assert answer.status >= 400
    assert "the-canary-is-out" not in answer.text
