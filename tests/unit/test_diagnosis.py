"""Every kind of diagnosis, from texts as the engine, Python and the usual libraries really write them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from function_runner import diagnosis
from function_runner.diagnosis import (
    MAX_EVIDENCE_LINES,
    MAX_LINE,
    MAX_SENTENCE,
    RULES,
    FunctionFacts,
    Kind,
    diagnose,
)
from function_runner.errors import (
    BuildFailed,
    Cancelled,
    Draining,
    EngineUnavailable,
    ExitedWithoutResult,
    Expired,
    FieldError,
    HandlerError,
    HandlerNotFound,
    HandlerRefused,
    HandlerUnavailable,
    ImageGone,
    InitError,
    InvalidResult,
    Killed,
    LogsUnavailable,
    Lost,
    OutOfMemory,
    QueueTimeout,
    ResultTooLarge,
    RunnerError,
    StoreUnavailable,
    TimedOut,
)

FACTS = FunctionFacts("score", memory_mb=256, timeout=30, tmp_mb=64, pids_limit=128)

OWN_TRACE = [
    '  File "/var/task/handler.py", line 12, in handler\n    frame = load(event["path"])\n',
    '  File "/var/task/data.py", line 7, in load\n    return pandas.read_csv(path)\n',
    '  File "/opt/venv/lib/python3.11/site-packages/pandas/io.py", line 1026, in read_csv\n    return _read()\n',
]
SOCKET_TRACE = [
    '  File "/var/task/handler.py", line 5, in handler\n    connection = socket.create_connection(address, 3)\n',
    '  File "/usr/lib/python3.11/socket.py", line 836, in create_connection\n    sock.connect(sa)\n',
]


def raised(kind, message, trace=OWN_TRACE, error_class=HandlerError):
    """The error for an exception that the runtime client has reported."""
    return error_class(
        f"Function 'score' raised: {kind}: {message}",
        function_error={"type": kind, "message": message, "stack_trace": list(trace)},
    )


def not_loaded(kind, message, trace=()):
    return raised(kind, message, trace, InitError)


def build_failed(output, said="The command '/bin/sh -c pip install -r requirements.txt' returned a non-zero code: 1"):
    """A failed build: the error and the lines of its log, which end as the engine and the runner end them."""
    error = BuildFailed(f"The image of function 'score' could not be built. The image could not be built: {said}")
    return error, [*output.splitlines(), said, "", "[build failed after 3.1 s]"]


def found(error, output=()):
    """The diagnosis, which is always presentable."""
    result = diagnose(error, FACTS, output)
    assert result.cause.endswith((".", "..."))
    assert result.next_step
    assert len(result.evidence) <= MAX_EVIDENCE_LINES
    assert all(line.strip() and len(line) <= MAX_LINE and line.isprintable() for line in result.evidence)
    assert json.loads(json.dumps(result.as_dict()))["kind"] == str(result.kind)
    return result


NO_NAME = "[Errno -3] Temporary failure in name resolution"
POOL = "HTTPSConnectionPool(host='example.com', port=443): Max retries exceeded with url: /data.csv (Caused by "
TO_MLFLOW = "HTTPConnectionPool(host='mlflow', port=5000): Max retries exceeded with url: /mlflow/api/2.0/x (Caused by "

# kind, the error, words that the cause must have, words that the next step must have
REPORTED = [
    pytest.param("out_of_memory", OutOfMemory("more than 256 MB"), "256 MB", "`memory`", id="killed by the kernel"),
    pytest.param(
        "out_of_memory",
        raised("MemoryError", "Unable to allocate 72.8 TiB for an array with shape (10000000000000,)"),
        "256 MB",
        "`memory`",
        id="numpy's memory error",
    ),
    pytest.param(
        "out_of_memory",
        raised(
            "RuntimeError", "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        "more memory",
        "`memory`",
        id="pytorch's memory error",
    ),
    pytest.param("timeout", TimedOut("did not finish", phase="run"), "30 s", "`timeout`", id="handler's time over"),
    pytest.param("timeout", TimedOut("still loading", phase="init"), "loading", "INIT_TIMEOUT", id="loading time over"),
    pytest.param("queue_timeout", QueueTimeout("No place"), "never started", "MAX_CONCURRENCY", id="queue"),
    pytest.param("queue_timeout", Expired("waited. Its last attempt failed: x"), "given up", "replay", id="expired"),
    pytest.param("cancelled", Cancelled("The invocation was cancelled."), "cancelled", "replay", id="cancelled"),
    pytest.param("image_gone", ImageGone("Image x is not there"), "removed", "today", id="replay without its image"),
    pytest.param(
        "dependency_unavailable",
        raised("FeatureStoreUnavailable", "no answer within 3 s", error_class=HandlerUnavailable),
        "a service that it needs",
        "Call again",
        id="some service away",
    ),
    pytest.param("runner_stopped", Draining(), "before the function was started", "Call again", id="draining"),
    pytest.param(
        "runner_stopped",
        Killed("Container score-1 was ended by the function runner without a result, because it shuts down."),
        "shut down",
        "Call again",
        id="shut down while running",
    ),
    pytest.param("lost", Lost("stopped while this invocation was running"), "nobody can tell", "twice", id="lost"),
    pytest.param(
        "engine_gone",
        EngineUnavailable("The container engine does not answer (Connection refused). Is Docker running?"),
        "Docker",
        "docker info",
        id="engine away",
    ),
    pytest.param(
        "engine_gone",
        Lost("The outcome is not known. The container engine does not answer (Connection aborted)."),
        "cannot be known",
        "MLflow",
        id="engine went away",
    ),
    pytest.param(
        "killed_from_outside",
        Killed("Container score-1 was killed from outside without a result (exit code 137).", exit_code=137),
        "docker kill",
        "dmesg",
        id="killed",
    ),
    pytest.param(
        "exited", Killed("Container score-1 ended while it was waiting."), "kept ready", "timer", id="died waiting"
    ),
    pytest.param(
        "disk",
        EngineUnavailable("The container engine refused a call: mkdir /var/lib/docker/x: no space left on device"),
        "machine is full",
        "docker system df",
        id="disk of the host, engine",
    ),
    pytest.param(
        "disk",
        LogsUnavailable("The log file of score-1 cannot be created: No space left on device."),
        "machine is full",
        "df -h",
        id="disk of the host, logs",
    ),
    pytest.param(
        "disk", raised("OSError", "[Errno 28] No space left on device"), "64 MB", "MLflow", id="disk of the container"
    ),
    pytest.param("disk", raised("OSError", "[Errno 27] File too large"), "64 MB", "MLflow", id="one large file"),
    pytest.param("record_unavailable", StoreUnavailable(), "record", "/ready", id="database away"),
    pytest.param("record_unavailable", LogsUnavailable("Read-only file system"), "log file", "/ready", id="logs away"),
    pytest.param(
        "missing_module",
        not_loaded("Runtime.ImportModuleError", "Unable to import module 'handler': No module named 'pandas'"),
        "'pandas'",
        "Add pandas to functions/score/requirements.txt",
        id="not installed",
    ),
    pytest.param(
        "missing_module",
        raised("ModuleNotFoundError", "No module named 'sklearn.ensemble'"),
        "'sklearn.ensemble'",
        "Add scikit-learn to",
        id="installed under another name",
    ),
    pytest.param(
        "missing_module",
        not_loaded("Runtime.ImportModuleError", "Unable to import module 'handler': No module named 'handler'"),
        "no file handler.py",
        "COPY",
        id="handler not in the image",
    ),
    pytest.param(
        "missing_module",
        not_loaded(
            "Runtime.ImportModuleError",
            "Unable to import module 'handler': libGL.so.1: cannot open shared object file: No such file or directory",
        ),
        "libGL.so.1",
        "apt-get",
        id="system library",
    ),
    pytest.param(
        "missing_module",
        raised("ImportError", "cannot import name 'trapz' from 'scipy.integrate' (/opt/venv/lib/python3.11/x.py)"),
        "'trapz'",
        "version",
        id="other version",
    ),
    pytest.param(
        "no_such_model",
        HandlerNotFound(
            "no model",
            errors=[FieldError("/model_name", "There is no model 'x'.")],
            function_error={
                "type": "ModelNotFound",
                "message": "/model_name: There is no model 'x'.",
                "stack_trace": [],
            },
        ),
        "no registered model",
        "/models",
        id="predict's word",
    ),
    pytest.param(
        "no_such_model",
        raised("MlflowException", "INVALID_PARAMETER_VALUE: Registered model alias champion not found."),
        "alias",
        "/models",
        id="mlflow's alias",
    ),
    pytest.param(
        "no_such_model",
        raised("MlflowException", "RESOURCE_DOES_NOT_EXIST: Registered Model with name=nope not found"),
        "no registered model",
        "/models",
        id="mlflow's model",
    ),
    pytest.param(
        "not_found",
        raised("CustomerNotFound", "no customer 7", error_class=HandlerNotFound),
        "did not find",
        "name",
        id="something else not found",
    ),
    pytest.param(
        "parameters_refused",
        HandlerRefused("refused", errors=[FieldError("/rows", "must not be empty")]),
        "does not accept",
        "Correct",
        id="refused",
    ),
    pytest.param(
        "mlflow_unreachable",
        raised(
            "DependencyUnavailable",
            "MLflow at http://mlflow:5000/mlflow cannot be reached: [Errno 111] Connection refused",
            [],
            HandlerUnavailable,
        ),
        "could not reach MLflow",
        "/ready",
        id="predict's word for it",
    ),
    pytest.param(
        "mlflow_unreachable",
        raised(
            "DependencyUnavailable",
            "MLflow at http://mlflow:5000/mlflow did not answer in JSON",
            [],
            HandlerUnavailable,
        ),
        "did not answer as it should",
        "/ready",
        id="no answer",
    ),
    pytest.param(
        "mlflow_unreachable",
        raised(
            "MlflowException",
            "API request to http://mlflow:5000/mlflow/api/2.0/mlflow/experiments/get-by-name failed with exception "
            f"{TO_MLFLOW}NameResolutionError(\"HTTPConnection(host='mlflow', port=5000): Failed to resolve 'mlflow' "
            f'({NO_NAME})"))',
        ),
        "could not reach MLflow",
        "/ready",
        id="mlflow's client",
    ),
    pytest.param(
        "mlflow_unreachable",
        raised("MlflowException", "API request to endpoint /api/2.0/mlflow/x failed with error code 503 != 200."),
        "did not answer as it should",
        "/ready",
        id="mlflow answers 503",
    ),
    pytest.param(
        "mlflow_unreachable",
        raised("ConnectionError", f"{TO_MLFLOW}NewConnectionError('[Errno 111] Connection refused'))"),
        "could not reach MLflow",
        "/ready",
        id="requests to mlflow",
    ),
    pytest.param(
        "network",
        raised("URLError", f"<urlopen error {NO_NAME}>"),
        "another machine",
        "Bring the data along",
        id="urllib",
    ),
    pytest.param(
        "network",
        raised("ConnectionError", f"{POOL}NameResolutionError(\"Failed to resolve 'example.com' ({NO_NAME})\"))"),
        "example.com",
        "artifact",
        id="requests",
    ),
    pytest.param(
        "network",
        raised("TimeoutError", "timed out", SOCKET_TRACE),
        "another machine",
        "image",
        id="address, no answer",
    ),
    pytest.param(
        "network",
        raised("OSError", "We couldn't connect to 'https://huggingface.co' to load this file"),
        "huggingface.co",
        "image",
        id="hugging face",
    ),
    pytest.param(
        "network",
        raised("OperationalError", 'could not translate host name "db" to address: Name or service not known'),
        "another machine",
        "MLflow",
        id="database",
    ),
    pytest.param(
        "permission",
        raised("OSError", "[Errno 30] Read-only file system: 'model.skops'"),
        "model.skops, but only /tmp is writable",
        "below /tmp",
        id="relative path",
    ),
    pytest.param(
        "permission",
        raised("PermissionError", "[Errno 13] Permission denied: '/tmp/x.sh'"),
        "executed",
        "image",
        id="program in /tmp",
    ),
    pytest.param(
        "permission",
        raised("PermissionError", "[Errno 13] Permission denied: '/var/task/m.bin'"),
        "privileges",
        "chmod",
        id="not readable",
    ),
    pytest.param(
        "process_limit", raised("RuntimeError", "can't start new thread"), "at most 128", "n_jobs", id="threads"
    ),
    pytest.param(
        "bad_result",
        InvalidResult("Function 'score' returned something that is not JSON: Object of type ndarray is not JSON ..."),
        "cannot be written as JSON",
        ".tolist()",
        id="not JSON",
    ),
    pytest.param("bad_result", ResultTooLarge(), "more than a result may hold", "artifact", id="too large"),
    pytest.param("exited", ExitedWithoutResult("ended its process", exit_code=3), "exit code 3", "sys.exit", id="left"),
    pytest.param("exited", ExitedWithoutResult("ended", exit_code=0), "exit code 0", "Return", id="left with 0"),
    pytest.param(
        "exited", ExitedWithoutResult("ended", exit_code=139), "segmentation fault", "FAULTHANDLER", id="segfault"
    ),
    pytest.param("exited", ExitedWithoutResult("ended", exit_code=132), "processor", "library", id="illegal"),
    pytest.param("exited", ExitedWithoutResult("ended", exit_code=127), "ENTRYPOINT", "Dockerfile", id="no entrypoint"),
    pytest.param(
        "init_error",
        InitError("The container of function 'score' cannot be started: exec: \"nope\": executable file not found"),
        "could not be started",
        "ENTRYPOINT",
        id="refused by the engine",
    ),
    pytest.param(
        "init_error",
        not_loaded(
            "Runtime.UserCodeSyntaxError", "Syntax error in module 'handler': '(' was never closed (handler.py)"
        ),
        "syntax error",
        "line",
        id="syntax error",
    ),
    pytest.param(
        "init_error",
        not_loaded("Runtime.HandlerNotFound", "Handler 'handler' missing on module 'handler'"),
        "no handler",
        "CMD",
        id="no handler",
    ),
    pytest.param(
        "init_error",
        not_loaded("KeyError", "'TOKEN'", OWN_TRACE),
        "could not be loaded: KeyError",
        "imported",
        id="raised while loading",
    ),
    pytest.param(
        "handler_error",
        raised("ValueError", "could not convert string to float: 'abc'"),
        "ValueError: could not",
        "Look at data.py, line 7",
        id="any other exception",
    ),
    pytest.param("unknown", RunnerError(), "nothing that was reported says why", "log", id="a bug of ours"),
]


@pytest.mark.parametrize(("kind", "error", "cause", "step"), REPORTED)
def test_what_was_reported(kind, error, cause, step):
    result = found(error, ["START RequestId: 1 Version: 2", "the last thing it printed"])
    assert result.kind == kind
    assert cause in result.cause
    assert step in result.next_step
    assert result.evidence


PIP_STEP = "Step 3/9 : RUN pip install -r requirements.txt\n ---> Running in e588982f3f38\n"
RED, PLAIN = "\x1b[91m", "\x1b[0m"
BUILDS = [
    pytest.param(
        "build_step",
        build_failed(
            f"Step 2/9 : COPY requirements.txt .\n ---> 4b90fef748ba\n{PIP_STEP}"
            f"{RED}ERROR: Could not find a version that satisfies the requirement numpy==99.99 (from versions: 1.3)\n"
            f"{PLAIN}{RED}ERROR: No matching distribution found for numpy==99.99\n"
            f"{PLAIN}Removing intermediate container e588982f3f38"
        ),
        "Step 3/9, RUN pip install",
        "requirements.txt",
        "numpy==99.99",
        id="pip: no such version",
    ),
    pytest.param(
        "build_step",
        build_failed(
            f"{PIP_STEP}{RED}error: {PLAIN}{RED}No solution found when resolving dependencies\n"
            f"  {PLAIN}{RED}cause: Because there is no version of six==99.99 and you require six==99.99, we can "
            f"conclude that your requirements are unsatisfiable.\n{PLAIN}"
        ),
        "does not exist in this version",
        "name or the version",
        "six==99.99",
        id="uv: no such version",
    ),
    pytest.param(
        "build_step",
        build_failed(
            f"{PIP_STEP}error: Request failed after 3 retries in 11.0s\n"
            "  cause: Failed to fetch: https://nowhere.invalid/simple/six/\n  cause: dns error\n"
            "  cause: failed to lookup address information: Name or service not known"
        ),
        "registry may be out of reach",
        "HTTPS_PROXY",
        "Failed to fetch",
        id="uv: no registry",
    ),
    pytest.param(
        "build_step",
        build_failed(
            f"{PIP_STEP}ERROR: Could not find a version that satisfies the requirement six (from versions: none)\n"
            "ERROR: No matching distribution found for six"
        ),
        "could not be found or downloaded",
        "package registry",
        "from versions: none",
        id="pip: nothing at all",
    ),
    pytest.param(
        "build_step",
        build_failed(f"{PIP_STEP}error: In `--require-hashes` mode, all requirements must have a hash, but none were"),
        "hash of every package",
        "--generate-hashes",
        "--require-hashes",
        id="no hashes",
    ),
    pytest.param(
        "build_step",
        build_failed(
            "Step 4/9 : COPY nope.txt .",
            "COPY failed: file not found in build context or excluded by .dockerignore: stat nope.txt: no file",
        ),
        "Step 4/9, COPY nope.txt",
        "Add the file",
        "stat nope.txt",
        id="file missing",
    ),
    pytest.param(
        "build_step",
        build_failed(
            "Step 8/9 : RUN python -m compileall -q .\n ---> Running in 1\n*** Error compiling './handler.py'...\n"
            '  File "./handler.py", line 3\n    def handler(event, context\n               ^\n'
            "SyntaxError: '(' was never closed"
        ),
        "a Python file cannot be compiled",
        "line",
        'File "./handler.py", line 3',
        id="syntax error",
    ),
    pytest.param(
        "build_step",
        build_failed("", "dockerfile parse error line 2: unknown instruction: RNU"),
        "mistake in line 2",
        "Dockerfile",
        "RNU",
        id="dockerfile",
    ),
    pytest.param(
        "build_step",
        build_failed("", "no build stage in current context"),
        "mistake",
        "Dockerfile",
        "no build stage",
        id="no FROM",
    ),
    pytest.param(
        "build_step",
        build_failed(
            "Step 1/2 : FROM python:9",
            'Get "https://registry.invalid/v2/": dial tcp: lookup registry.invalid on 10.0.0.1:53: no such host',
        ),
        "base image",
        "PYTHON_IMAGE",
        "no such host",
        id="no base image",
    ),
    pytest.param(
        "build_step",
        build_failed(f"{PIP_STEP}still going", "The build did not finish within 900 s."),
        "not built in time at Step 3/9",
        "BUILD_TIMEOUT",
        "still going",
        id="too long",
    ),
    pytest.param(
        "build_step",
        build_failed(f"{PIP_STEP}", "The command '/bin/sh -c pip install x' returned a non-zero code: 137"),
        "killed",
        "BUILD_MEMORY_MB",
        "Step 3/9",
        id="killed",
    ),
    pytest.param(
        "build_step",
        build_failed("Step 9/9 : RUN ./prepare.sh\n ---> Running in 1\npreparing\nsomething odd happened"),
        "Step 9/9, RUN ./prepare.sh",
        "/functions/score/build/log",
        "something odd happened",
        id="anything else",
    ),
    pytest.param(
        "disk",
        build_failed(f"{PIP_STEP}ERROR: Could not install packages: [Errno 28] No space left on device"),
        "disk of the machine is full",
        "docker system df",
        "No space left",
        id="disk",
    ),
    pytest.param(
        "build_step",
        (BuildFailed("The source of function 'score' changed while it was being built; call it again."), []),
        "changed while",
        "Call again",
        "changed",
        id="edited",
    ),
]


@pytest.mark.parametrize(("kind", "failure", "cause", "step", "evidence"), BUILDS)
def test_a_build(kind, failure, cause, step, evidence):
    result = found(*failure)
    assert result.kind == kind
    assert cause in result.cause
    assert step in result.next_step
    assert any(evidence in line for line in result.evidence)


def test_every_kind_is_in_the_tables():
    assert {case.values[0] for case in [*REPORTED, *BUILDS]} == {str(kind) for kind in Kind}


def test_every_rule_says_why():
    assert all((rule.__doc__ or "").strip() for rule in RULES)


def test_every_rule_answers_for_something_in_the_tables(monkeypatch):
    answered = set()

    def watched(rule):
        def ask(case):
            answer = rule(case)
            if answer is not None:
                answered.add(rule.__name__)
            return answer

        return ask

    monkeypatch.setattr(diagnosis, "RULES", tuple(watched(rule) for rule in RULES))
    for case in REPORTED:
        diagnose(case.values[1], FACTS)
    for case in BUILDS:
        diagnose(case.values[1][0], FACTS, case.values[1][1])
    assert answered == {rule.__name__ for rule in RULES}


# --- evidence ---------------------------------------------------------------------------------------------------------


def test_an_exception_is_shown_with_the_last_line_of_the_functions_own_code():
    result = found(raised("ValueError", "bad value\nsecond line"))
    assert result.evidence == (
        "ValueError: bad value",
        "data.py, line 7, in load",
        "    return pandas.read_csv(path)",
    )
    assert "(data.py, line 7)" in result.cause


def test_a_trace_without_own_code_points_nowhere():
    result = found(raised("ValueError", "bad", OWN_TRACE[-1:]))
    assert result.evidence == ("ValueError: bad",)
    assert "Look at its code" in result.next_step


def test_a_trace_may_come_line_by_line():
    lines = [line for entry in OWN_TRACE for line in entry.splitlines()]
    assert found(raised("ValueError", "bad", lines)).evidence[1] == "data.py, line 7, in load"


def test_a_timeout_shows_the_last_lines_of_this_invocation_only():
    log = [
        "START RequestId: 1 Version: 2",
        "of the one before",
        "END RequestId: 1",
        "REPORT RequestId: 1\tDuration: 3 ms",
        "START RequestId: 2 Version: 2",
        *(f"epoch {number}" for number in range(1, 9)),
        "",
    ]
    result = found(TimedOut("over", phase="run"), log)
    assert result.evidence == ("epoch 4", "epoch 5", "epoch 6", "epoch 7", "epoch 8")


def test_a_timeout_without_output_says_so():
    result = found(TimedOut("did not finish within 30 s", phase="run"), ["START RequestId: 1 Version: 2"])
    assert "printed nothing" in result.cause
    assert result.evidence == ("did not finish within 30 s",)


def test_evidence_is_clean_short_and_little():
    odd = [
        "\x1b[31mred\x1b[0m \x1b]0;title\x07bell\x00",
        "x" * 5000,
        "\u202ereversed",
        "tab\there",
        "\r\n",
        *"abcdefghij",
    ]
    result = found(ExitedWithoutResult("ended", exit_code=1), odd)
    assert result.evidence == tuple("fghij")
    result = found(ExitedWithoutResult("ended", exit_code=1), odd[:4])
    assert result.evidence == ("red bell", "x" * (MAX_LINE - 3) + "...", "reversed", "tab    here")


def test_the_command_of_a_step_is_not_what_it_printed():
    command = "pip install x || echo 'No space left on device'"
    failure = build_failed(
        f"Step 2/3 : RUN {command}\n ---> Running in 1\nerror: bad luck",
        f"The command '/bin/sh -c {command}' returned a non-zero code: 1",
    )
    result = found(*failure)
    assert result.kind is Kind.BUILD_STEP
    assert result.evidence == (f"Step 2/3 : RUN {command}", "error: bad luck")


def test_what_an_earlier_step_said_is_not_the_reason():
    failure = build_failed(
        "Step 2/3 : RUN pip install x\nWARNING: Connection refused, trying again\n ---> 1\nStep 3/3 : RUN false"
    )
    assert "registry" not in found(*failure).cause


# --- what must not be mistaken ----------------------------------------------------------------------------------------

MENTIONS = [
    "xgboost: falls back to the external memory mode when it runs out of memory",
    "No space left on device would stop the cache",
    "MLflow: Connection refused, trying again ... connected",
    "No module named 'cupy', using numpy",
    "Read-only file system: using memory instead",
    "Temporary failure in name resolution, offline mode",
    "Killed",
]


@pytest.mark.parametrize("line", MENTIONS)
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (raised("ValueError", "could not convert string to float: 'abc'"), "handler_error"),
        (ExitedWithoutResult("ended", exit_code=3), "exited"),
        (TimedOut("over", phase="run"), "timeout"),
        (RunnerError(), "unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_log_that_mentions_a_reason_does_not_make_it_one(error, kind, line):
    assert found(error, ["loading", line, "done"]).kind == kind


@pytest.mark.parametrize(
    ("kind", "message", "trace"),
    [
        ("ValueError", "the column 'out of memory' is missing", OWN_TRACE),
        ("RuntimeError", "the pool ran out of memory slots", OWN_TRACE),
        ("TimeoutError", "timed out", OWN_TRACE),
        ("TimeoutExpired", "Command '['sleep', '9']' timed out after 1 seconds", OWN_TRACE),
        ("ValueError", "Connection refused is not a category", OWN_TRACE),
        ("MlflowException", "Changing param values is not allowed.", OWN_TRACE),
        ("KeyError", "'mlflow'", OWN_TRACE),
        ("CustomError", "No module named 'x'", OWN_TRACE),
        ("FileNotFoundError", "[Errno 2] No such file or directory: '/tmp/x'", OWN_TRACE),
    ],
)
def test_an_ordinary_exception_stays_one(kind, message, trace):
    assert found(raised(kind, message, trace)).kind is Kind.HANDLER_ERROR


def test_another_machine_is_not_mlflow_even_when_mlflow_is_on_the_way():
    trace = [
        '  File "/var/task/handler.py", line 5, in handler\n    mlflow.log_text(requests.get(url).text, "a")\n',
        '  File "/opt/venv/lib/python3.11/site-packages/requests/adapters.py", line 677, in send\n    raise\n',
    ]
    error = raised("ConnectionError", f"{POOL}NewConnectionError('[Errno 111] Connection refused'))", trace)
    assert found(error).kind is Kind.NETWORK


# --- a process that left with a traceback -----------------------------------------------------------------------------

LAST_WORDS = """START RequestId: 1 Version: 2
starting
Traceback (most recent call last):
  File "/var/task/serve.py", line 3, in <module>
    import lightgbm
ModuleNotFoundError: No module named 'lightgbm'""".splitlines()


def test_a_traceback_as_last_words_is_a_report():
    result = found(ExitedWithoutResult("ended", exit_code=1), LAST_WORDS)
    assert result.kind is Kind.MISSING_MODULE
    assert "'lightgbm'" in result.cause
    assert "serve.py, line 3, in <module>" in result.evidence


def test_a_traceback_that_was_survived_is_not():
    result = found(ExitedWithoutResult("ended", exit_code=1), [*LAST_WORDS, "going on without it"])
    assert result.kind is Kind.EXITED
    assert result.evidence[-1] == "going on without it"


def test_python_that_does_not_find_its_module():
    line = "/opt/venv/bin/python: No module named awslambdaric"
    result = found(ExitedWithoutResult("ended", exit_code=1), [line])
    assert result.kind is Kind.MISSING_MODULE
    assert "awslambdaric" in result.next_step


# --- whatever comes ---------------------------------------------------------------------------------------------------

TEXTS = st.text(max_size=300) | st.sampled_from(
    ["Traceback (most recent call last):", '  File "x", line 1, in y', "ValueError: [Errno 30] : '", "Step 1/1 : FROM"]
)
ERRORS = [error for error in RunnerError.__subclasses__() if error is not RunnerError]
ERRORS += [error for parent in ERRORS for error in parent.__subclasses__()]


@settings(max_examples=300, deadline=None)
@given(
    error_class=st.sampled_from([RunnerError, *ERRORS]),
    detail=TEXTS,
    kind=st.none() | TEXTS,
    message=TEXTS,
    trace=st.lists(TEXTS, max_size=4),
    exit_code=st.none() | st.integers(-300, 300),
    output=st.lists(TEXTS, max_size=10),
)
def test_it_always_answers(error_class, detail, kind, message, trace, exit_code, output):
    reported = {"type": kind, "message": message, "stack_trace": trace} if kind is not None else None
    result = diagnose(error_class(detail, function_error=reported, exit_code=exit_code), FACTS, output)
    assert result.kind in Kind
    assert len(result.cause) <= MAX_SENTENCE
    assert len(result.evidence) <= MAX_EVIDENCE_LINES
    assert all(len(line) <= MAX_LINE and "\n" not in line and "\x1b" not in line for line in result.evidence)


@pytest.mark.timeout(5)
@pytest.mark.parametrize("piece", ["lib", "a.", "[Errno 30] ", "\x1b]", "://", "File ", "cannot import name 'x' "])
def test_a_hostile_text_costs_no_time(piece):
    text = piece * (10_000 // len(piece))
    diagnose(raised(text[:200], text, [text]), FACTS, [text] * 40)
    diagnose(ExitedWithoutResult(text, exit_code=1), FACTS, [text] * 40)
    for kind in ("ImportError", "OSError", "MlflowException"):
        diagnose(raised(kind, text), FACTS)
    diagnose(BuildFailed(text), FACTS, [text] * 40)
