"""What every container engine must do. The fake and Docker pass the same tests; else the fake proves nothing."""

import os
import secrets
import threading
import time

import pytest

from function_runner.docker_engine import ContainerEngine, DockerEngine, Image, ImageMissing
from function_runner.docker_spec import (
    LABEL_ENVIRONMENT,
    LABEL_FUNCTION,
    LABEL_STACK,
    BuildSpec,
    ContainerSpec,
)
from function_runner.errors import BuildFailed, EngineUnavailable
from function_runner.settings import MEBIBYTE
from support.fake_engine import FakeEngine

STACK = f"smlops-contract-{secrets.token_hex(3)}"
DOCKERFILE = """ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}
COPY main.py /var/task/main.py
CMD ["python3", "-u", "/var/task/main.py"]
"""


@pytest.fixture(params=["fake", "docker"])
def engine(request):
    if request.param == "fake":
        yield FakeEngine(stack=STACK)
        return
    request.getfixturevalue("stack")  # on a bare machine it is start.sh that brings the engine up
    docker_host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    engine = DockerEngine(docker_host, stack=STACK, network="none")
    engine.ping()
    yield engine
    for container in engine.containers():
        engine.remove(container.id)
    for image in (*engine.images(), *engine.build_cache()):
        engine.remove_image(image.tag)
    assert engine.containers() == []
    assert engine.images() == []
    engine.close()


@pytest.fixture
def build(engine, request, tmp_path):
    """Make an image that runs this code; returns it and its build output."""
    is_real = isinstance(engine, DockerEngine)
    arguments = {"PYTHON_IMAGE": request.getfixturevalue("stack").python_image} if is_real else {}

    def make(code: str, *, dockerfile: str = DOCKERFILE, timeout: float = 60, tag: str = "") -> tuple[Image, str]:
        (tmp_path / "main.py").write_text(code)
        (tmp_path / "Dockerfile").write_text(dockerfile)
        output: list[str] = []
        spec = BuildSpec(
            tag=tag or f"{STACK}/function-probe:{secrets.token_hex(6)}",
            cache_tag=f"{STACK}/cache-probe:{secrets.token_hex(6)}",
            arguments=arguments,
            labels={LABEL_STACK: STACK, LABEL_FUNCTION: "probe"},
            memory_bytes=512 * MEBIBYTE,
            network=None,
            timeout=timeout,
        )
        return engine.build(tmp_path, spec, output.append), "".join(output)

    return make


def container(image: str, *, memory_mb: int = 64, stack: str = STACK) -> ContainerSpec:
    name = f"probe-{secrets.token_hex(6)}"
    return ContainerSpec(
        name=name,
        image=image,
        config={
            "Image": image,
            "Env": [],
            "Labels": {LABEL_STACK: stack, LABEL_FUNCTION: "probe", LABEL_ENVIRONMENT: name},
            "HostConfig": {
                "NetworkMode": "none",
                "Memory": memory_mb * MEBIBYTE,
                "MemorySwap": memory_mb * MEBIBYTE,
                "Init": True,
            },
        },
    )


def run(engine: ContainerEngine, spec: ContainerSpec) -> tuple[str, bytes]:
    """Run the container to its end; returns its id and everything it wrote."""
    container_id = engine.create(spec)
    stream = engine.attach(container_id)
    engine.start(container_id)
    return container_id, b"".join(stream)


def read_line(stream, expected: bytes) -> None:
    """Read exactly this; an engine may deliver it in pieces."""
    written = b""
    while len(written) < len(expected):
        written += next(stream)
    assert written == expected


def test_it_works(engine, build):
    image, output = build("print('hello')")
    assert image.tag in output
    assert engine.find_image(image.tag).id == image.id

    spec = container(image.tag)
    container_id, written = run(engine, spec)
    assert written == b"hello\n"
    state = engine.inspect(container_id)
    assert (state.running, state.exit_code, state.oom_killed) == (False, 0, False)
    assert [(found.id, found.name) for found in engine.containers()] == [(container_id, spec.name)]
    assert engine.output(container_id) == b"hello\n"

    engine.remove(container_id)
    assert engine.inspect(container_id) is None
    assert engine.containers() == []


def test_info_tells_the_size_of_the_machine(engine):
    info = engine.info()
    assert info.cpus >= 1
    assert info.memory_bytes > 0


def test_last_words_of_a_container_that_dies_at_once_are_captured(engine, build):
    image, _ = build("print('last words')\nraise SystemExit(3)")
    container_id, written = run(engine, container(image.tag))
    assert written == b"last words\n"
    assert engine.inspect(container_id).exit_code == 3


def test_two_attached_readers_get_the_same(engine, build):
    image, _ = build("print('for all')")
    container_id = engine.create(container(image.tag))
    streams = [engine.attach(container_id), engine.attach(container_id)]
    engine.start(container_id)
    assert [b"".join(stream) for stream in streams] == [b"for all\n"] * 2


def test_running_out_of_memory_is_told_apart(engine, build):
    code = "try:\n    data = [bytearray(b'x' * 1_000_000) for _ in range(1000)]\nexcept MemoryError:\n    raise\n"
    if isinstance(engine, FakeEngine):
        code = "raise MemoryError"  # the fake has no kernel to ask
    image, _ = build(code)
    container_id, _ = run(engine, container(image.tag, memory_mb=32))
    state = engine.inspect(container_id)
    assert state.oom_killed
    assert state.exit_code == 137


def test_kill_ends_the_container_and_its_output(engine, build):
    image, _ = build("import time\nprint('waiting')\ntime.sleep(5)")
    container_id = engine.create(container(image.tag))
    stream = engine.attach(container_id)
    engine.start(container_id)
    read_line(stream, b"waiting\n")
    assert engine.inspect(container_id).running
    assert engine.memory_mb(container_id) > 0
    engine.kill(container_id)
    assert list(stream) == []
    state = engine.inspect(container_id)
    assert (state.running, state.exit_code, state.oom_killed) == (False, 137, False)


def test_the_share_of_a_running_container_can_be_changed(engine, build):
    image, _ = build("import time\nprint('waiting')\ntime.sleep(5)")
    container_id = engine.create(container(image.tag))
    engine.set_cpu_shares(container_id, 512)
    stream = engine.attach(container_id)
    engine.start(container_id)
    read_line(stream, b"waiting\n")
    engine.set_cpu_shares(container_id, 1024)
    assert engine.inspect(container_id).running
    engine.remove(container_id)
    engine.set_cpu_shares(container_id, 1024)  # there is none: nothing happens


def test_destroying_is_safe_twice_and_before_the_start(engine, build):
    image, _ = build("print('never seen')")
    container_id = engine.create(container(image.tag))
    engine.kill(container_id)
    for _ in range(2):
        engine.remove(container_id)
    engine.kill(container_id)
    assert engine.inspect(container_id) is None
    assert engine.memory_mb(container_id) is None
    assert engine.output(container_id) == b""


def test_removing_a_running_container_ends_its_output(engine, build):
    image, _ = build("import time\nprint('waiting')\ntime.sleep(5)")
    container_id = engine.create(container(image.tag))
    stream = engine.attach(container_id)
    engine.start(container_id)
    read_line(stream, b"waiting\n")
    engine.remove(container_id)
    assert list(stream) == []


def test_a_missing_image_is_told_apart(engine):
    with pytest.raises(ImageMissing):
        engine.create(container(f"{STACK}/function-probe:missing"))
    assert engine.find_image(f"{STACK}/function-probe:missing") is None


def test_a_name_is_used_once(engine, build):
    image, _ = build("print('one')")
    spec = container(image.tag)
    outcomes: list[object] = []

    def create() -> None:
        try:
            outcomes.append(engine.create(spec))
        except EngineUnavailable as error:
            outcomes.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert len(engine.containers()) == 1


def test_a_broken_build_says_why(engine, build):
    with pytest.raises(BuildFailed, match="non-zero code: 1"):
        build("", dockerfile=DOCKERFILE + "RUN exit 1\n")
    assert engine.images() == []


def test_what_a_failed_build_left_is_found_and_removed(engine, build):
    for number in range(2):
        with pytest.raises(BuildFailed):
            build(f"print({number})", dockerfile=DOCKERFILE + "RUN exit 1\n")
    left = engine.build_cache()
    assert len({image.tag for image in left}) == 2
    assert all(image.tag.startswith(f"{STACK}/cache-probe:") for image in left)
    assert engine.images() == engine.untagged_images() == []
    for image in left:
        assert engine.remove_image(image.tag)
        assert engine.find_image(image.id) is None
    assert engine.build_cache() == []


def test_so_is_a_stage_that_is_not_in_the_image(engine, build):
    if isinstance(engine, FakeEngine):
        pytest.skip("its builds have no stages")
    first = DOCKERFILE.replace("IMAGE}", "IMAGE} AS first")
    second = "FROM ${PYTHON_IMAGE}\nCOPY --from=first /var/task/main.py /main.py\n"
    image, _ = build("print('two stages')", dockerfile=first + second)
    (left,) = engine.build_cache()
    assert left.id != image.id
    assert engine.remove_image(left.tag)
    assert engine.build_cache() == []
    assert engine.find_image(image.tag) == image


def test_a_build_that_is_silent_for_too_long_is_given_up(engine, build):
    before = time.monotonic()
    with pytest.raises(BuildFailed, match="did not finish within 3 s"):
        build("", dockerfile=DOCKERFILE + "RUN sleep 60\n", timeout=3)
    assert time.monotonic() - before < 30
    assert engine.images() == []


def test_a_container_somebody_else_made_from_our_image_is_not_ours(engine, build):
    image, _ = build("print('by hand')")
    by_hand = container(image.tag)
    del by_hand.config["Labels"][LABEL_ENVIRONMENT]
    container_id = engine.create(by_hand)
    try:
        assert engine.containers() == []
    finally:
        engine.remove(container_id)


def test_images_carry_their_labels(engine, build):
    image, _ = build("print('labelled')")
    assert image.labels[LABEL_FUNCTION] == "probe"
    assert [found.tag for found in engine.images()] == [image.tag]
    engine.remove_image(image.tag)
    engine.remove_image(image.tag)
    assert engine.images() == []


def test_an_image_that_a_container_uses_is_not_removed(engine, build):
    image, _ = build("print('in use')")
    container_id = engine.create(container(image.tag))
    assert not engine.remove_image(image.tag)
    assert [found.tag for found in engine.images()] == [image.tag]
    engine.remove(container_id)
    assert engine.remove_image(image.tag)
    assert engine.images() == []


def test_an_image_that_lost_its_name_is_found_without_it(engine, build):
    first, _ = build("print('first')", tag=f"{STACK}/function-probe:same")
    second, _ = build("print('second')", tag=f"{STACK}/function-probe:same")
    assert [found.id for found in engine.images()] == [second.id]
    (untagged,) = engine.untagged_images()
    assert (untagged.id, untagged.tag) == (first.id, first.id)
    assert engine.remove_image(untagged.tag)
    assert engine.untagged_images() == []
