import os

import pytest

from function_runner.catalog import Catalog
from function_runner.errors import FunctionInvalid, FunctionNotFound
from function_runner.settings import Settings


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
def catalog(folder):
    return Catalog(Settings(functions_dir=folder))


def add(folder, name, **files):
    """A function folder; by default one that works."""
    path = folder / name
    path.mkdir()
    for file, content in {"Dockerfile": "FROM x\n", "handler.py": "def handler(e, c): pass\n", **files}.items():
        (path / file).write_text(content)
    return path


def test_it_works(catalog, folder):
    add(
        folder,
        "train",
        **{
            "function.yaml": "description: Trains.\ntimeout: 5\nmemory: 128\ncpus: 0.5\nwarm: 1\nmax_concurrency: 2\n"
            "environment: {LEVEL: 3, FAST: true}\nexamples: [{parameters: {a: 1}}]\n"
        },
    )
    function = catalog.get("train")
    assert function.description == "Trains."
    assert (function.timeout, function.memory_mb, function.cpus) == (5, 128, 0.5)
    assert (function.warm, function.max_concurrency) == (1, 2)
    assert function.environment == {"LEVEL": "3", "FAST": "true"}
    assert function.examples == ({"name": "Example", "parameters": {"a": 1}},)
    assert len(function.source_hash) == 64


def test_a_dockerfile_and_a_handler_are_enough(catalog, folder):
    add(folder, "bare")
    function = catalog.get("bare")
    assert function.timeout == Settings().default_timeout
    assert function.schema is None


def test_a_dropped_in_folder_is_there_at_once(catalog, folder):
    with pytest.raises(FunctionNotFound):
        catalog.get("late")
    add(folder, "late")
    assert catalog.get("late").name == "late"
    assert [entry.name for entry in catalog.list()] == ["late"]


def test_an_unknown_name_is_answered_with_the_known_ones(catalog, folder):
    add(folder, "predict")
    add(folder, "train")
    with pytest.raises(FunctionNotFound, match=r"no function 'trian'. Known functions: predict, train\."):
        catalog.get("trian")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../train", "train/../train", "/etc", "Train", "train ", "a\0b", "x" * 300, "train\n"]
)
def test_a_name_never_becomes_a_path(catalog, folder, name):
    add(folder, "train")
    with pytest.raises(FunctionNotFound):
        catalog.get(name)


def test_a_change_of_any_file_changes_the_source_hash(catalog, folder):
    path = add(folder, "echo", **{"data.txt": "one"})
    before = catalog.get("echo").source_hash
    (path / "data.txt").write_text("two")
    after = catalog.get("echo").source_hash
    assert before != after
    (path / "data.txt").write_text("one")
    assert catalog.get("echo").source_hash == before


def test_a_change_that_keeps_size_and_second_is_noticed(catalog, folder):
    path = add(folder, "echo", **{"data.txt": "one"})
    before = catalog.get("echo").source_hash
    status = (path / "data.txt").stat()
    (path / "data.txt").write_text("two")
    os.utime(path / "data.txt", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert catalog.get("echo").source_hash != before


def test_a_renamed_file_changes_the_source_hash(catalog, folder):
    path = add(folder, "echo", **{"one.txt": "same"})
    before = catalog.get("echo").source_hash
    (path / "one.txt").rename(path / "two.txt")
    assert catalog.get("echo").source_hash != before


def test_what_python_and_editors_leave_behind_is_not_source(catalog, folder):
    path = add(folder, "echo")
    before = catalog.get("echo").source_hash
    (path / "__pycache__").mkdir()
    (path / "__pycache__" / "handler.cpython-311.pyc").write_bytes(b"x")
    (path / ".handler.py.swp").write_text("x")
    assert catalog.get("echo").source_hash == before


def test_another_base_image_is_another_source(folder):
    add(folder, "echo")
    hashes = {Catalog(Settings(functions_dir=folder, python_image=base)).get("echo").source_hash for base in ("a", "b")}
    assert len(hashes) == 2


def test_an_unchanged_folder_is_not_read_again(catalog, folder):
    add(folder, "echo")
    assert catalog.get("echo") is catalog.get("echo")


def test_a_symbolic_link_is_not_followed(catalog, folder, tmp_path_factory):
    secret = tmp_path_factory.mktemp("outside") / "secret"
    secret.write_text("one")
    path = add(folder, "echo")
    (path / "link").symlink_to(secret)
    before = catalog.get("echo").source_hash
    secret.write_text("two")
    assert catalog.get("echo").source_hash == before


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"function.yaml": "timeout: [1"}, "is not YAML in line"),
        ({"function.yaml": "- a\n- b"}, "must be a mapping"),
        ({"function.yaml": "timeout: 0"}, "/timeout: Input should be greater than 0"),
        ({"function.yaml": "timeout: 100000"}, "at most MAX_TIMEOUT"),
        ({"function.yaml": "colour: red"}, "/colour: Extra inputs"),
        ({"function.yaml": "parameters: {type: nonsense}"}, "must describe an object"),
    ],
)
def test_a_broken_manifest_is_listed_with_its_reason(catalog, folder, files, words):
    add(folder, "broken", **files)
    add(folder, "fine")
    with pytest.raises(FunctionInvalid, match=words):
        catalog.get("broken")
    broken, fine = catalog.list()
    assert broken.function is None
    assert words in broken.problem.detail
    assert fine.function is not None


def test_a_mended_manifest_works_without_restart(catalog, folder):
    path = add(folder, "broken", **{"function.yaml": "timeout: 0"})
    with pytest.raises(FunctionInvalid):
        catalog.get("broken")
    (path / "function.yaml").write_text("timeout: 1")
    assert catalog.get("broken").timeout == 1


def test_a_folder_without_dockerfile_says_so(catalog, folder):
    (folder / "notes").mkdir()
    with pytest.raises(FunctionInvalid, match="has no Dockerfile"):
        catalog.get("notes")


def test_a_folder_with_an_impossible_name_says_so(catalog, folder):
    add(folder, "My_Function")
    assert "must match" in catalog.list()[0].problem.detail
    with pytest.raises(FunctionInvalid, match="must match"):
        catalog.get("My_Function")


def test_hidden_folders_and_files_are_no_functions(catalog, folder):
    add(folder, ".hidden")
    add(folder, "_shared")
    (folder / "README.md").write_text("x")
    assert catalog.list() == []


def test_a_removed_folder_is_gone(catalog, folder):
    path = add(folder, "echo")
    catalog.get("echo")
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    assert catalog.list() == []
    with pytest.raises(FunctionNotFound, match="none yet"):
        catalog.get("echo")


def test_no_functions_folder_is_an_empty_catalog(tmp_path):
    assert Catalog(Settings(functions_dir=tmp_path / "nowhere")).list() == []


def test_a_change_that_puts_the_time_back_is_noticed(catalog, folder):
    path = add(folder, "echo", **{"data.txt": "one"})
    before = catalog.get("echo").source_hash
    status = (path / "data.txt").stat()
    (path / "data.txt").write_text("two")
    os.utime(path / "data.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert catalog.get("echo").source_hash != before


SCHEDULED = "parameters: {properties: {n: {type: integer, default: 3}}, additionalProperties: false}\n"


def test_schedules_have_the_parameters_that_a_caller_would_have(catalog, folder):
    add(
        folder,
        "nightly",
        **{
            "function.yaml": SCHEDULED
            + "schedule: [{cron: 0 3 * * *}, {name: two, cron: 0 4 * * *, parameters: {n: 7}}]"
        },
    )
    one, two = catalog.get("nightly").schedules
    assert (one.name, dict(one.parameters)) == ("default", {"n": 3})
    assert (two.name, dict(two.parameters)) == ("two", {"n": 7})


def test_one_schedule_needs_no_list(catalog, folder):
    add(folder, "nightly", **{"function.yaml": "schedule: {cron: 0 3 * * *, timezone: Europe/Berlin}"})
    (schedule,) = catalog.get("nightly").schedules
    assert (schedule.cron, schedule.timezone) == ("0 3 * * *", "Europe/Berlin")


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("{cron: 0 25 * * *}", "/schedule/0/cron: '0 25 \\* \\* \\*' is not a cron expression"),
        ("{cron: 0 3 * * *, timezone: Mars}", "/schedule/0/timezone: 'Mars' is not a time zone"),
        ("[{cron: 0 3 * * *}, {cron: 0 4 * * *}]", "/schedule: two schedules are called 'default': give each a name"),
        ("[{cron: 0 3 * * *, parameters: {n: x}}]", "/schedule/0/parameters/n: must be of type integer, not 'x'"),
        ("[{cron: 0 3 * * *, parameters: {m: 1}}]", "/schedule/0/parameters/m: is not a parameter here"),
        ("[{cron: 0 3 * * *, parameters: {n: 2026-01-01}}]", "/schedule/0/parameters: must be plain JSON"),
        ("0 3 * * *", "/schedule: Input should be a valid list"),
        ("[" + ", ".join(f"{{name: s{n}, cron: 0 3 * * *}}" for n in range(21)) + "]", "at most 20 schedules, not 21"),
    ],
)
def test_a_schedule_that_cannot_be_kept_makes_the_function_invalid(catalog, folder, said, complaint):
    add(folder, "nightly", **{"function.yaml": f"{SCHEDULED}schedule: {said}"})
    with pytest.raises(FunctionInvalid, match=f"^Function 'nightly' function.yaml: .*{complaint}"):
        catalog.get("nightly")
