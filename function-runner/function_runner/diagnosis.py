"""Why something ended badly, in the words of the person whose function it is. Pure: no I/O, nothing is asked.

`diagnose` gets what is known (an error, the last lines of the output, a few facts about the function) and tries the
rules of `RULES` from top to bottom; the first that answers is the diagnosis. A rule is one function with the reason
for it. Two principles:

- What was *reported* decides: the error's code, the exception's type and message. A log is free text, in which any
  words may stand for any reason, so it is quoted as evidence and decides nothing. The one exception is a process that
  ended with a Python traceback as its last words: that is a report, too.
- What is not known is said to be unknown.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from function_runner.errors import RunnerError
from function_runner.function import Function
from function_runner.invocation import Invocation
from function_runner.settings import Settings

MAX_EVIDENCE_LINES = 8
MAX_LINE = 300
MAX_SENTENCE = 500
MAX_READ = 2000  # of a line of output; a build may print megabytes without a line end
LOG_LINES = 5  # of the log, where nothing better is known
BUILD_LINES = 6  # of a build step's output


class Kind(StrEnum):
    """The stable names of what a diagnosis can find."""

    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    QUEUE_TIMEOUT = "queue_timeout"
    CANCELLED = "cancelled"
    RUNNER_STOPPED = "runner_stopped"
    LOST = "lost"
    ENGINE_GONE = "engine_gone"
    RECORD_UNAVAILABLE = "record_unavailable"
    KILLED_FROM_OUTSIDE = "killed_from_outside"
    DISK = "disk"
    IMAGE_GONE = "image_gone"
    BUILD_STEP = "build_step"
    MISSING_MODULE = "missing_module"
    PARAMETERS_REFUSED = "parameters_refused"
    NO_SUCH_MODEL = "no_such_model"
    NOT_FOUND = "not_found"
    MLFLOW_UNREACHABLE = "mlflow_unreachable"
    DEPENDENCY_UNAVAILABLE = "dependency_unavailable"
    NETWORK = "network"
    PERMISSION = "permission"
    PROCESS_LIMIT = "process_limit"
    BAD_RESULT = "bad_result"
    EXITED = "exited"
    INIT_ERROR = "init_error"
    HANDLER_ERROR = "handler_error"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Diagnosis:
    """What went wrong, what shows it, and what to do now."""

    kind: Kind
    cause: str  # one sentence
    next_step: str
    evidence: tuple[str, ...] = ()  # quoted lines, without control characters, few and short

    def as_dict(self) -> dict[str, Any]:
        """The diagnosis as the record keeps it."""
        return {**asdict(self), "kind": str(self.kind), "evidence": list(self.evidence)}


@dataclass(frozen=True)
class FunctionFacts:
    """What a diagnosis says about the function's limits; None: not known."""

    name: str
    memory_mb: int | None = None
    timeout: float | None = None  # seconds this invocation might run
    tmp_mb: int | None = None
    pids_limit: int | None = None

    @classmethod
    def of(cls, function: Function, settings: Settings, *, timeout: float | None = None) -> "FunctionFacts":
        """The facts about a function, and about one invocation of it where ``timeout`` is given."""
        return cls(function.name, function.memory_mb, timeout or function.timeout, settings.tmp_mb, settings.pids_limit)

    @classmethod
    def of_invocation(cls, invocation: Invocation) -> "FunctionFacts":
        """What the record of an invocation tells, when the function itself is not at hand."""
        return cls(invocation.function, invocation.memory_limit_mb, invocation.timeout_seconds)


def diagnose(error: RunnerError, function: FunctionFacts, output: Sequence[str] = ()) -> Diagnosis:
    """The diagnosis of an error.

    Args:
        error: one of ours; ``members["function_error"]`` is what the function's own process reported.
        function: facts for the words.
        output: the last lines of the container's log or, for a failed build, of the build's output.
    """
    case = _Case.of(error, function, output)
    found = next(found for rule in RULES if (found := rule(case)) is not None)
    return Diagnosis(found.kind, _cut(found.cause, MAX_SENTENCE), _cut(found.next_step, MAX_SENTENCE), found.evidence)


def attach(error: RunnerError, function: FunctionFacts, output: Sequence[str] = ()) -> None:
    """Put the diagnosis of an error among its ``members``, unless somebody who knew more has done so."""
    if "diagnosis" not in error.members:
        error.members = {**error.members, "diagnosis": diagnose(error, function, output).as_dict()}


# --- what the rules look at -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Frame:
    """One entry of a Python stack trace."""

    file: str
    line: int
    function: str
    code: str

    @property
    def is_own(self) -> bool:
        """True when it is in the function's own code, not in a library or in what calls the handler."""
        return re.search(r"site-packages|dist-packages|/lib/python3|^<|/awslambdaric/", self.file) is None

    @property
    def place(self) -> str:
        """The place as a person looks for it: the file below the function's folder, and the line."""
        return f"{self.file.removeprefix('/var/task/')}, line {self.line}"


@dataclass(frozen=True)
class _Case:
    """What is known of a failure, in the form in which the rules want it."""

    code: str
    detail: str
    exit_code: int | None
    phase: str | None
    fields: tuple[str, ...]  # what was refused, "/pointer: words"
    function: FunctionFacts
    output: tuple[str, ...]  # the function's own lines, or the build's
    type: str | None = None  # of the exception that the function's process reported
    message: str = ""
    trace: tuple[_Frame, ...] = ()

    @classmethod
    def of(cls, error: RunnerError, function: FunctionFacts, output: Sequence[str]) -> "_Case":
        reported = error.members.get("function_error") or {}
        lines = tuple(_clean(line[:MAX_READ]) for line in output)
        kind, message = reported.get("type"), str(reported.get("message") or "")
        frames = _frames(reported.get("stack_trace") or ())
        if error.code == "exited_without_result" and kind is None:
            kind, message, frames = _last_words(lines)
        return cls(
            code=error.code,
            detail=error.detail,
            exit_code=error.members.get("exit_code"),
            phase=error.members.get("phase"),
            fields=tuple(f"{entry.pointer}: {entry.detail}" for entry in error.errors),
            function=function,
            output=lines if error.code == "build_failed" else _own_lines(lines),
            type=kind,
            message=message,
            trace=frames,
        )

    @property
    def said(self) -> str:
        """The exception in one line, as Python writes it."""
        first = next((line for line in self.message.splitlines() if line.strip()), "")
        return f"{self.type}: {first}" if first else str(self.type)

    @property
    def own_frame(self) -> _Frame | None:
        """The deepest place in the function's own code: where its author can change something."""
        return next((frame for frame in reversed(self.trace) if frame.is_own), None)

    @property
    def module_is_loading(self) -> bool:
        return self.code == "init_error"

    @property
    def during(self) -> str:
        return "while its module was loaded" if self.module_is_loading else "while it ran"

    def shows(self, *lines: str) -> tuple[str, ...]:
        """Evidence: these lines."""
        return _quoted(lines)

    def exception_shown(self) -> tuple[str, ...]:
        """Evidence: the exception, and the place in the function's own code where it came through."""
        frame = self.own_frame
        place = [f"{frame.place}, in {frame.function}", f"    {frame.code}"] if frame is not None else []
        return _quoted([self.said, *(line for line in place if line.strip())])

    def log_shown(self) -> tuple[str, ...]:
        """Evidence: the last lines that the function printed."""
        return _quoted(self.output[-LOG_LINES:])


Rule = Callable[[_Case], Diagnosis | None]


# --- the rules: what the platform knows for certain -------------------------------------------------------------------


def _out_of_memory(case: _Case) -> Diagnosis | None:
    """The kernel ended the process at the container's limit: the engine says so, nothing has to be guessed."""
    if case.code != "out_of_memory":
        return None
    limit = f"its {case.function.memory_mb} MB of memory" if case.function.memory_mb else "the memory it may use"
    return Diagnosis(
        Kind.OUT_OF_MEMORY,
        f"Function {case.function.name!r} needed more than {limit} and was ended at that moment.",
        f"Raise `memory` in functions/{case.function.name}/function.yaml, or work on less at a time: fewer rows or "
        "columns, smaller types, fewer parallel jobs. Files in /tmp count as memory too.",
        case.log_shown() or case.shows(case.detail),
    )


def _time_to_load_is_over(case: _Case) -> Diagnosis | None:
    """Before the handler is called there is another limit than for the handler, so another thing has to be changed."""
    if case.code != "timed_out" or case.phase != "init":
        return None
    return Diagnosis(
        Kind.TIMEOUT,
        f"Function {case.function.name!r} was still loading its module (imports, models) when its time to start was "
        "over.",
        "Look at what the module does when it is imported: a download, a large model, a wait for something that does "
        "not answer. If it needs the time, raise the setting INIT_TIMEOUT.",
        case.log_shown() or case.shows(case.detail),
    )


def _time_is_over(case: _Case) -> Diagnosis | None:
    """The runner itself ended it, so the reason is certain; what it was doing is the last thing that it printed."""
    if case.code != "timed_out":
        return None
    limit = f"the {case.function.timeout:g} s it may take" if case.function.timeout else "its time"
    last = "the last lines show how far it came" if case.output else "it had printed nothing by then"
    return Diagnosis(
        Kind.TIMEOUT,
        f"Function {case.function.name!r} was not done after {limit}, so it was ended; {last}.",
        f"Give it less to do, or raise `timeout` in functions/{case.function.name}/function.yaml or in the call.",
        case.log_shown() or case.shows(case.detail),
    )


def _no_place_became_free(case: _Case) -> Diagnosis | None:
    """Nothing was started, so nothing is wrong with the function or its input."""
    if case.code != "queue_timeout":
        return None
    return Diagnosis(
        Kind.QUEUE_TIMEOUT,
        "The call waited for a free place until its time to wait was over; it was never started.",
        "Call again when fewer invocations run (`/debug` shows them). If this happens often, raise MAX_CONCURRENCY, or "
        "`max_concurrency` in function.yaml where the function has one.",
        case.shows(case.detail),
    )


def _waited_too_long_in_the_background(case: _Case) -> Diagnosis | None:
    """Of an asynchronous invocation there may have been attempts; the message tells why the last one failed."""
    if case.code != "expired":
        return None
    return Diagnosis(
        Kind.QUEUE_TIMEOUT,
        "The invocation waited in the queue for longer than it may, so it was given up.",
        "Remove what kept it waiting (the evidence names the last failed attempt, if there was one), then replay it. "
        "The setting MAX_QUEUE_AGE allows a longer wait.",
        case.shows(case.detail),
    )


def _cancelled(case: _Case) -> Diagnosis | None:
    """Somebody asked for it, so nothing is wrong."""
    if case.code != "cancelled":
        return None
    return Diagnosis(
        Kind.CANCELLED,
        "Somebody cancelled the invocation.",
        "Nothing needs to be done; replay it if it should run after all.",
        case.shows(case.detail) + case.log_shown(),
    )


def _runner_stopped(case: _Case) -> Diagnosis | None:
    """A restart ends what waits and, after a grace, what runs. Neither the function nor the caller did it."""
    if case.code == "killed" and "because it shuts down" in case.detail:
        cause = "The function runner was shut down while the function ran, and ended it."
    elif case.code == "draining":
        cause = "The function runner was shut down or restarted before the function was started."
    else:
        return None
    return Diagnosis(
        Kind.RUNNER_STOPPED,
        cause,
        "Call again. If it may have written something before it was ended (its log shows how far it came), look there "
        "first.",
        case.shows(case.detail) + case.log_shown(),
    )


def _disk_of_the_host(case: _Case) -> Diagnosis | None:
    """The engine or the runner itself could not write: then it is the machine's disk, not the container's /tmp."""
    if case.code not in ("engine_unavailable", "logs_unavailable", "store_unavailable", "lost", "init_error"):
        return None
    if case.type is not None or not DISK_FULL.search(case.detail):
        return None
    return Diagnosis(
        Kind.DISK,
        "The disk of the machine is full, so the container or its log could not be made.",
        HOST_DISK_STEP,
        case.shows(case.detail),
    )


def _engine_gone(case: _Case) -> Diagnosis | None:
    """Without the engine nothing starts, and the end of what was running cannot be learned."""
    engine_is_meant = case.code == "lost" and "container engine" in case.detail
    if case.code != "engine_unavailable" and not engine_is_meant:
        return None
    lost = "; how the function ended cannot be known" if engine_is_meant else ""
    return Diagnosis(
        Kind.ENGINE_GONE,
        f"The container engine (Docker), which runs the functions, did not do what it was asked{lost}.",
        "See whether Docker runs (`docker info`), then call again; `/ready` says when it answers."
        + (" Look into the log and into MLflow first: the function may have finished." if lost else ""),
        case.shows(case.detail) + case.log_shown(),
    )


def _lost(case: _Case) -> Diagnosis | None:
    """A result may exist that nobody received, so running it again is the caller's decision."""
    if case.code != "lost":
        return None
    return Diagnosis(
        Kind.LOST,
        "The runner stopped, or lost sight of the container, so nobody can tell whether the function finished.",
        "Look into its log and into MLflow for what it has done. Call again if it may run twice.",
        case.shows(case.detail) + case.log_shown(),
    )


def _record_unavailable(case: _Case) -> Diagnosis | None:
    """The runner's own files cannot be written; the function has nothing to do with it."""
    what = {"store_unavailable": "record of invocations", "logs_unavailable": "log file"}.get(case.code)
    if what is None:
        return None
    return Diagnosis(
        Kind.RECORD_UNAVAILABLE,
        f"The {what} could not be written, so nothing was started.",
        "`/ready` says what is wrong with database and logs. Call again when it is ready.",
        case.shows(case.detail),
    )


def _ended_while_it_waited(case: _Case) -> Diagnosis | None:
    """A container that was kept ready can die before a call reaches it; its exit is not a result of that call."""
    if case.code != "killed" or not re.search(r"ended (while it was waiting|before the invocation)", case.detail):
        return None
    return Diagnosis(
        Kind.EXITED,
        "A container that was kept ready ended before a call reached it: its process left, or somebody ended it.",
        "Call again: another container is made. If it happens again and again, look for code that ends the process by "
        "itself, a thread or a timer for instance.",
        case.shows(case.detail) + case.log_shown(),
    )


def _killed_from_outside(case: _Case) -> Diagnosis | None:
    """Signals 9 and 15 without the kernel's mark of an out-of-memory kill come from `docker kill`, `stop` or `rm`."""
    if case.code != "killed":
        return None
    return Diagnosis(
        Kind.KILLED_FROM_OUTSIDE,
        "Somebody or something outside of the function ended its container (`docker kill`, `docker stop`, "
        "`docker rm`, or the machine short of memory).",
        "Call again if nobody wanted it to end. If nobody did it, see whether the machine ran out of memory: "
        "`dmesg | grep -i oom`.",
        case.shows(case.detail) + case.log_shown(),
    )


# --- the rules: builds ------------------------------------------------------------------------------------------------

# What each of these lines of a build's output means, the most telling first: cause, and what to do.
BUILD_CAUSES: tuple[tuple[str, str, str], ...] = (
    # Before all others: a full disk makes tools complain about everything else as well.
    (r"No space left on device|no space left on device", "the disk of the machine is full", "DISK"),
    # Before "no matching version": pip says that it found no versions when it reached no index at all.
    (
        (
            r"from versions: none\)|Failed to fetch|dns error|Temporary failure (in name resolution|resolving)"
            r"|Could not resolve|Connection refused|connection timed out|Network is unreachable|NewConnectionError"
        ),
        "a package could not be found or downloaded; the package registry may be out of reach",
        "Check the package's name, and whether this machine reaches its package registry (network, HTTPS_PROXY).",
    ),
    (
        (
            r"Could not find a version that satisfies|No matching distribution found|there is no version of"
            r"|was not found in the package registry|No solution found|requirements are unsatisfiable"
            r"|Unable to locate package"
        ),
        "a package is asked for that does not exist in this version for this Python",
        "Correct the name or the version in requirements.txt; the evidence names the package.",
    ),
    (
        r"all requirements must have a hash|Hashes are required|hash mismatch|Hash mismatch|DO NOT MATCH THE HASHES",
        "requirements.txt does not hold the right hash of every package",
        "Make it anew with `uv pip compile --generate-hashes requirements.in -o requirements.txt`.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|invalid peer certificate|x509:",
        "the certificate of a server could not be verified",
        "Behind a proxy that signs anew, its certificate must be in the base image; see docs/operations.md.",
    ),
    (
        r"(COPY|ADD) failed|file not found in build context|Could not open requirements file|File not found: `",
        "a file that the Dockerfile copies or uses is not in the function's folder",
        "Add the file, or correct its name in the Dockerfile; .dockerignore may exclude it.",
    ),
    (
        r"error: command .* failed|[Ff]ailed to build|[Ff]ailed building wheel|(gcc|cc|g\+\+): not found",
        "a package had to be compiled, and that failed",
        "Choose a version with a ready wheel for this Python, or install the compiler in the Dockerfile first.",
    ),
    (
        r"SyntaxError:|IndentationError:",
        "a Python file cannot be compiled",
        "Correct the line that the evidence names.",
    ),
)


def _image_gone(case: _Case) -> Diagnosis | None:
    """A replay asks for the very image of then, which cannot be built again from today's source."""
    if case.code != "image_gone":
        return None
    return Diagnosis(
        Kind.IMAGE_GONE,
        "The image in which the invocation ran at that time was removed, and the function has changed since.",
        "Replay it with the function as it is today.",
        case.shows(case.detail),
    )


def _build_took_too_long(case: _Case) -> Diagnosis | None:
    """The runner ended the build, so the failing line is not the reason; the step that took so long is."""
    if case.code != "build_failed" or not re.search(r"was not built in time|build did not finish within", case.detail):
        return None
    step = _step(case.output)
    return Diagnosis(
        Kind.BUILD_STEP,
        f"The image was not built in time{_at(step)}.",
        "Look at what that step waits for; the setting BUILD_TIMEOUT allows more time. A build that still goes on is "
        "used by the next call.",
        _build_shown(case, step),
    )


def _changed_while_it_was_built(case: _Case) -> Diagnosis | None:
    """What was built is thrown away on purpose; the next call builds what is there now."""
    if case.code != "build_failed" or "changed while it was being built" not in case.detail:
        return None
    return Diagnosis(
        Kind.BUILD_STEP,
        "A file of the function changed while its image was being built, so the image was not used.",
        "Call again; the image is built from the files as they are now.",
        case.shows(case.detail),
    )


def _dockerfile_cannot_be_read(case: _Case) -> Diagnosis | None:
    """The engine refuses the Dockerfile before the first step, so there is no step and no output."""
    if case.code != "build_failed" or _step(case.output) is not None:
        return None
    found = re.search(r"(?i)dockerfile parse error|unknown instruction|no build stage|failed to parse", case.detail)
    if found is None:
        return None
    line = re.search(r"line (\d+)", case.detail)
    return Diagnosis(
        Kind.BUILD_STEP,
        f"The Dockerfile of function {case.function.name!r} has a mistake{f' in line {line[1]}' if line else ''}.",
        f"Correct functions/{case.function.name}/Dockerfile and call again.",
        case.shows(case.detail),
    )


def _base_image_missing(case: _Case) -> Diagnosis | None:
    """The first step of a stage asks for an image; what the engine says then is about a registry, not a package."""
    step = _step(case.output)
    if case.code != "build_failed" or step is None or not re.search(r"Step \d+/\d+ : FROM ", step):
        return None
    if DISK_FULL.search(case.detail) or "non-zero code" in case.detail:
        return None
    return Diagnosis(
        Kind.BUILD_STEP,
        f"The base image could not be had{_at(step)}: it is not on this machine, and its registry did not deliver it.",
        "Begin the Dockerfile with `ARG PYTHON_IMAGE` and `FROM ${PYTHON_IMAGE}`, which is always there, or load the "
        "image with `docker load`.",
        _build_shown(case, step),
    )


def _build_step(case: _Case) -> Diagnosis | None:
    """A step ended with an error; what it printed says why, most often in one of a few well-known sentences."""
    if case.code != "build_failed":
        return None
    step = _step(case.output)
    # Only what the failing step printed; the steps before it succeeded, whatever they said.
    printed = _after(case.output, step) or [case.detail]
    for pattern, reason, advice in BUILD_CAUSES:
        telling = next((line for line in reversed(printed) if re.search(pattern, line)), None)
        if telling is None:
            continue
        shown = _build_shown(case, step, telling)
        if advice == "DISK":
            return Diagnosis(Kind.DISK, f"The image could not be built{_at(step)}: {reason}.", HOST_DISK_STEP, shown)
        return Diagnosis(Kind.BUILD_STEP, f"The image could not be built{_at(step)}: {reason}.", advice, shown)
    if re.search(r"non-zero code: 137\b", case.detail):
        return Diagnosis(
            Kind.BUILD_STEP,
            f"The image could not be built{_at(step)}: the step was killed, most likely for want of memory.",
            "Raise the setting BUILD_MEMORY_MB, or let the step do less.",
            _build_shown(case, step),
        )
    return Diagnosis(
        Kind.BUILD_STEP,
        f"The image of function {case.function.name!r} could not be built{_at(step)}.",
        f"The last lines say why; correct functions/{case.function.name}/ and call again. The whole output is at "
        f"/functions/{case.function.name}/build/log.",
        _build_shown(case, step),
    )


# --- the rules: what the function's own process reported --------------------------------------------------------------

DISK_FULL = re.compile(r"(?i)no space left on device|\[Errno 28\]")
HOST_DISK_STEP = (
    "Make room on the machine: `docker system df` and `df -h` show where it went; images of old sources and old logs "
    "can be removed (docs/operations.md)."
)

# Names by which packages are imported, where they are installed under another one.
PACKAGES = {
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}


def _missing_module(case: _Case) -> Diagnosis | None:
    """By far the most frequent mistake with a new function. The runtime client wraps it while the module is loaded."""
    if case.type not in ("ModuleNotFoundError", "ImportError", "Runtime.ImportModuleError"):
        return None
    folder = f"functions/{case.function.name}"
    shown = case.exception_shown()
    if found := re.search(r"No module named '?([\w.]+)'?", case.message):
        module = found[1].partition(".")[0]
        if case.message.startswith(f"Unable to import module '{module}'"):
            return Diagnosis(
                Kind.MISSING_MODULE,
                f"The image has no file {module}.py, which the Dockerfile's CMD names as the handler's module.",
                f"Let {folder}/Dockerfile COPY it to its WORKDIR, or correct CMD.",
                shown,
            )
        package = PACKAGES.get(module, module)
        return Diagnosis(
            Kind.MISSING_MODULE,
            f"Function {case.function.name!r} imports the module {found[1]!r}, which is not installed in its image.",
            f"Add {package} to {folder}/requirements.txt (made from requirements.in where there is one); if {module} "
            "is a file of your own, let the Dockerfile COPY it. The next call builds the image anew.",
            shown,
        )
    if found := re.search(r"(lib[\w.+-]{1,80}\.so[\w.]{0,20}): cannot open shared object", case.message):
        return Diagnosis(
            Kind.MISSING_MODULE,
            f"A package needs the system library {found[1]}, which is not in the image.",
            f"Install the Debian package that holds it in {folder}/Dockerfile (`apt-get install`), or take a package "
            "that does without, such as opencv-python-headless.",
            shown,
        )
    if found := re.search(
        r"cannot import name '(\w+)' from (?:partially initialized module )?'([\w.]+)'", case.message
    ):
        return Diagnosis(
            Kind.MISSING_MODULE,
            f"The module {found[2]!r} in the image has no {found[1]!r}: another version of it is installed than the "
            "code expects, or two of your files import each other.",
            f"Ask for the right version in {folder}/requirements.txt; the next call builds the image anew.",
            shown,
        )
    return Diagnosis(
        Kind.MISSING_MODULE,
        f"Something that function {case.function.name!r} imports could not be loaded.",
        f"See what the message names, and add it to {folder}/requirements.txt.",
        shown,
    )


def _parameters_refused(case: _Case) -> Diagnosis | None:
    """The handler itself has said what it does not accept, place by place: nobody can say it better."""
    if case.code not in ("handler_refused", "parameters_invalid"):
        return None
    return Diagnosis(
        Kind.PARAMETERS_REFUSED,
        f"Function {case.function.name!r} does not accept these parameters.",
        "Correct what is named and call again.",
        case.shows(*case.fields) if case.fields else case.exception_shown(),
    )


def _no_such_model(case: _Case) -> Diagnosis | None:
    """Said by the shipped functions (`ModelNotFound`) or by MLflow's own client, in these words."""
    is_ours = case.code == "handler_not_found" and (
        str(case.type).startswith("Model") or re.match(r"/model_(name|version): ", case.message)
    )
    by_mlflow = case.type in ("MlflowException", "RestException") and re.search(
        r"(Registered Model with name=|Model Version \(name=|Registered model alias ).* not found"
        r"|RESOURCE_DOES_NOT_EXIST: .*(Model|model)",
        case.message,
    )
    if not is_ours and not by_mlflow:
        return None
    return Diagnosis(
        Kind.NO_SUCH_MODEL,
        "MLflow has no registered model, version or alias of the name that was asked for.",
        "Choose one that exists (`/models` lists them), or train and register it first.",
        case.shows(*case.fields) if case.fields else case.exception_shown(),
    )


def _not_found(case: _Case) -> Diagnosis | None:
    """Any exception of a name that ends in NotFound means: what the parameters name does not exist."""
    if case.code != "handler_not_found":
        return None
    return Diagnosis(
        Kind.NOT_FOUND,
        f"Function {case.function.name!r} did not find what the parameters name.",
        "Correct the name and call again.",
        case.shows(*case.fields) if case.fields else case.exception_shown(),
    )


def _memory_error(case: _Case) -> Diagnosis | None:
    """Python, NumPy and PyTorch notice by themselves that there is no room, before the kernel ends the process.

    By the exception's type, not by its words: a ValueError may speak of memory for many reasons.
    """
    by_words = case.type in ("RuntimeError", "OSError") and re.search(
        r"can't allocate memory: you tried to allocate|\[Errno 12\] Cannot allocate memory", case.message
    )
    if case.type not in ("MemoryError", "_ArrayMemoryError") and not by_words:
        return None
    limit = f" within its {case.function.memory_mb} MB" if case.function.memory_mb else ""
    return Diagnosis(
        Kind.OUT_OF_MEMORY,
        f"Function {case.function.name!r} asked for more memory than it could get{limit}.",
        f"Raise `memory` in functions/{case.function.name}/function.yaml, or work on less at a time.",
        case.exception_shown(),
    )


def _disk_of_the_container(case: _Case) -> Diagnosis | None:
    """The root is read-only, so what can be full is /tmp; a single file may be as large as all of it."""
    if case.type is None or not re.search(r"\[Errno (27|28)\]|No space left on device", case.message):
        return None
    size = f" ({case.function.tmp_mb} MB)" if case.function.tmp_mb else ""
    return Diagnosis(
        Kind.DISK,
        f"Function {case.function.name!r} filled its /tmp, or tried to write more than fits{size}.",
        "Write less, delete what is not needed any more, or store large files as artifacts in MLflow.",
        case.exception_shown(),
    )


def _read_only(case: _Case) -> Diagnosis | None:
    """A relative path leads to the function's own folder, which is read-only as everything but /tmp."""
    found = case.type is not None and re.search(r"\[Errno (30|13)\] [^:]*(?:: '([^']*)')?", case.message)
    if not found:
        return None
    path = found[2] or ""
    if found[1] == "30":
        return Diagnosis(
            Kind.PERMISSION,
            f"Function {case.function.name!r} tried to write{f' to {path}' if path else ''}, but only /tmp is writable "
            "in a function's container.",
            "Write below /tmp (a relative path leads to the function's own folder, which is read-only), and store in "
            "MLflow what must last.",
            case.exception_shown(),
        )
    if path.startswith("/tmp/"):  # noqa: S108 - inside the container
        return Diagnosis(
            Kind.PERMISSION,
            f"Function {case.function.name!r} may not use {path}; programs in /tmp, for one, cannot be executed.",
            "Put a program into the image (COPY or RUN in the Dockerfile) and run it from there.",
            case.exception_shown(),
        )
    return Diagnosis(
        Kind.PERMISSION,
        f"Function {case.function.name!r} may not use{f' {path}' if path else ' a file'}: it runs as a user without "
        "privileges, and only /tmp is writable.",
        "Write below /tmp. What is only read, the Dockerfile must make readable: `RUN chmod -R a+rX .`.",
        case.exception_shown(),
    )


# That a connection was not made, as the operating system and the usual libraries say it: words that mean nothing else,
CERTAINLY_NO_CONNECTION = re.compile(
    r"\[Errno (-2|-3|-5|101|113)\]|Network is unreachable|No route to host|Temporary failure in name resolution"
    r"|Name or service not known|Failed to resolve '|Failed to establish a new connection|couldn't connect to 'http"
)
# and words that mean it when the exception comes from a connection.
PERHAPS_NO_CONNECTION = re.compile(
    r"\[Errno (104|110|111)\]|Connection refused|Max retries exceeded|Connection reset by peer|Remote end closed"
    r"|timed out"
)
# Types whose name says that it was about a connection; with the words above, that is enough.
CONNECTION_TYPES = re.compile(
    r"gaierror|herror|URLError|Connection\w*|\w*ConnectionError|\w*Connect\w*Error|\w*ConnectTimeout|ReadTimeout"
    r"|MaxRetryError|NewConnectionError|NameResolutionError|ProxyError|SSLError|RemoteDisconnected|EndpointConnectionError"
)
NETWORK_FILES = re.compile(r"/(socket|ssl|http/client|urllib/request)\.py$|/(urllib3|requests|httpx|httpcore|aiohttp)/")


# MLflow by its address, and what its client says when MLflow answers with nothing but errors.
MLFLOW_ADDRESS = re.compile(r"(host='|://)mlflow[:/']|/api/2\.0/mlflow")
MLFLOW_IN_TROUBLE = re.compile(r"failed with (error|response) code 5\d\d|too many 5\d\d error responses")


def _mlflow_unreachable(case: _Case) -> Diagnosis | None:
    """MLflow is the one neighbour that a function can reach, so this is a fault of the system, not of the function."""
    if case.type is None:
        return None
    # The shipped functions say it by this type, also when MLflow answers with something that is no answer.
    is_said = case.type == "DependencyUnavailable" and "MLflow" in case.message
    in_trouble = case.type == "MlflowException" and MLFLOW_IN_TROUBLE.search(case.message)
    if not is_said and not in_trouble and not (_has_no_connection(case) and _is_about_mlflow(case)):
        return None
    return Diagnosis(
        Kind.MLFLOW_UNREACHABLE,
        f"Function {case.function.name!r} could not reach MLflow, or MLflow did not answer as it should.",
        "`/ready` tells whether MLflow answers; call again when it does. If it stays away, `docker logs` of MLflow's "
        "container says why.",
        case.exception_shown(),
    )


def _network(case: _Case) -> Diagnosis | None:
    """Everybody tries to download data once. The container has no way out, by design."""
    if not _has_no_connection(case):
        return None
    host = _host(case)
    target = f" ({host})" if host else ""
    return Diagnosis(
        Kind.NETWORK,
        f"Function {case.function.name!r} tried to reach another machine{target}, which a function's container cannot: "
        "it reaches MLflow only.",
        "Bring the data along: in the image (COPY or download in the Dockerfile), in the parameters, or as an artifact "
        "in MLflow.",
        case.exception_shown(),
    )


def _dependency_unavailable(case: _Case) -> Diagnosis | None:
    """An exception of a name that ends in Unavailable says that a service is away; which one, only its words tell."""
    if case.code != "dependency_unavailable":
        return None
    return Diagnosis(
        Kind.DEPENDENCY_UNAVAILABLE,
        f"Function {case.function.name!r} did not get an answer from a service that it needs.",
        "Call again when the service that the evidence names answers.",
        case.exception_shown(),
    )


def _process_limit(case: _Case) -> Diagnosis | None:
    """Numeric libraries start a thread for each core of the machine, and parallel jobs start processes."""
    if case.type is None or not re.search(r"\[Errno 11\] Resource temporarily|can't start new thread", case.message):
        return None
    limit = f" (at most {case.function.pids_limit})" if case.function.pids_limit else ""
    return Diagnosis(
        Kind.PROCESS_LIMIT,
        f"Function {case.function.name!r} tried to start more processes or threads than it may have{limit}.",
        "Use fewer parallel jobs (`n_jobs`, workers) or threads (OMP_NUM_THREADS in `environment` of function.yaml).",
        case.exception_shown(),
    )


def _not_json(case: _Case) -> Diagnosis | None:
    """NumPy and pandas values are the usual reason; Python's json writes NaN, which is not JSON, without a word."""
    if case.code != "invalid_result":
        return None
    return Diagnosis(
        Kind.BAD_RESULT,
        f"Function {case.function.name!r} returned something that cannot be written as JSON.",
        "Return only dict, list, str, int, float, bool and None: `.tolist()` for arrays, `.to_dict()` for data frames, "
        "`float(x)` for NumPy numbers, None in place of NaN.",
        case.shows(case.detail),
    )


def _too_large(case: _Case) -> Diagnosis | None:
    """A result travels in one piece and is kept in the record, so it is bounded."""
    if case.code != "result_too_large":
        return None
    return Diagnosis(
        Kind.BAD_RESULT,
        f"Function {case.function.name!r} returned more than a result may hold.",
        "Store it as an artifact in MLflow and return its address, or return less; the setting RESULT_MAX_BYTES is the "
        "limit.",
        case.shows(case.detail),
    )


# What an exit code tells by convention, with what to do about it.
EXITS: dict[int, tuple[str, str]] = {
    0: (
        "ended its own process without returning a result",
        "Return a value from the handler, and call neither sys.exit() nor os._exit() in it.",
    ),
    126: (
        "could not be started: the ENTRYPOINT of its image is not executable",
        "Correct ENTRYPOINT in the Dockerfile.",
    ),
    127: (
        "could not be started: the ENTRYPOINT of its image does not exist",
        "Correct ENTRYPOINT in the Dockerfile; a virtual environment must be copied into the last stage.",
    ),
    132: (
        "crashed: a library uses instructions that this processor does not have",
        "Use a build of the library for an older or another processor.",
    ),
    134: (
        "was aborted by a native library",
        "The last lines often name the library; try another version of it.",
    ),
    135: (
        "crashed on memory that could not be read (bus error), often a file or shared memory that was cut short",
        "Use fewer parallel workers that share memory, or another version of the library.",
    ),
    136: (
        "crashed in a native library: an arithmetic error",
        "Look at the input of the last call before it.",
    ),
    139: (
        "crashed in a native library (segmentation fault), so Python could not report an exception",
        (
            "Set PYTHONFAULTHANDLER: 1 in `environment` of function.yaml and call again: the log then shows the place. "
            "Often two packages do not fit together; try other versions."
        ),
    ),
}


def _exited(case: _Case) -> Diagnosis | None:
    """The process is over without a word to the runner: the exit code and the last lines are all there is."""
    if case.code != "exited_without_result" or case.type is not None:
        return None
    code = case.exit_code
    ended = "ended its own process without returning a result"
    step = "Let the handler raise an exception instead of leaving; call neither sys.exit() nor os._exit() in it."
    words, advice = EXITS.get(code if code is not None else -1, (ended, step))
    return Diagnosis(
        Kind.EXITED,
        f"Function {case.function.name!r} {words}{f' (exit code {code})' if code is not None else ''}.",
        advice,
        case.log_shown() or case.shows(case.detail),
    )


def _cannot_be_started(case: _Case) -> Diagnosis | None:
    """The engine could not run what the image says to run; the process never existed, so it reported nothing."""
    if case.code != "init_error" or case.type is not None:
        return None
    return Diagnosis(
        Kind.INIT_ERROR,
        f"The container of function {case.function.name!r} could not be started: the image says to run something that "
        "cannot be run.",
        "Correct ENTRYPOINT and CMD in its Dockerfile.",
        case.shows(case.detail),
    )


# What awslambdaric calls its own complaints about a function.
RUNTIME_COMPLAINTS = {
    "Runtime.UserCodeSyntaxError": ("has a syntax error in its Python code", "Correct the line that is named."),
    "Runtime.HandlerNotFound": (
        "has no handler of the name that the Dockerfile's CMD gives",
        "Define `def handler(event, context)` in that module, or correct CMD.",
    ),
    "Runtime.MalformedHandlerName": (
        "does not say which handler to call",
        'Write CMD ["handler.handler"], module and function, in the Dockerfile.',
    ),
}


def _module_cannot_be_loaded(case: _Case) -> Diagnosis | None:
    """No call can succeed before this is corrected, which is worth other words than an exception of the handler."""
    if not case.module_is_loading:
        return None
    if case.type in RUNTIME_COMPLAINTS:
        words, advice = RUNTIME_COMPLAINTS[case.type]
        return Diagnosis(Kind.INIT_ERROR, f"Function {case.function.name!r} {words}.", advice, case.exception_shown())
    return Diagnosis(
        Kind.INIT_ERROR,
        f"Function {case.function.name!r} could not be loaded: {_raised(case)}.",
        "Correct what the module does when it is imported; no call can succeed before.",
        case.exception_shown(),
    )


def _handler_error(case: _Case) -> Diagnosis | None:
    """Any other exception. The deepest line of the author's own code is where to look, not the library below it."""
    if case.type is None:
        return None
    frame = case.own_frame
    where = f"Look at {frame.place}" if frame else "Look at its code"
    return Diagnosis(
        Kind.HANDLER_ERROR,
        f"The code of function {case.function.name!r} raised {_raised(case)}.",
        f"{where}: correct the code, or the parameters if they brought it there. The log has the whole trace.",
        case.exception_shown(),
    )


def _unknown(case: _Case) -> Diagnosis:
    """Better than a guess."""
    return Diagnosis(
        Kind.UNKNOWN,
        "It failed, and nothing that was reported says why.",
        "Read the whole log, and the runner's log (`docker logs` of the runner's container) at that time.",
        case.log_shown() or case.shows(case.detail),
    )


RULES: tuple[Rule, ...] = (
    # Certain: what the runner and the engine did or saw themselves.
    _out_of_memory,
    _time_to_load_is_over,
    _time_is_over,
    _no_place_became_free,
    _waited_too_long_in_the_background,
    _cancelled,
    _runner_stopped,
    _disk_of_the_host,
    _engine_gone,
    _lost,
    _record_unavailable,
    _ended_while_it_waited,
    _killed_from_outside,
    _not_json,
    _too_large,
    # Builds: first what no step is to blame for.
    _image_gone,
    _build_took_too_long,
    _changed_while_it_was_built,
    _dockerfile_cannot_be_read,
    _base_image_missing,
    _build_step,
    # What the function says of its input.
    _parameters_refused,
    _no_such_model,
    _not_found,
    # Its exceptions: the well-known ones, then MLflow before the network in general, then any other.
    _missing_module,
    _memory_error,
    _disk_of_the_container,
    _read_only,
    _process_limit,
    _mlflow_unreachable,
    _network,
    _dependency_unavailable,
    _exited,
    _cannot_be_started,
    _module_cannot_be_loaded,
    _handler_error,
    _unknown,
)


# --- reading ----------------------------------------------------------------------------------------------------------

_FRAME = re.compile(r'\s*File "([^"\n]+)", line (\d+)(?:, in ([^\n]*))?')
_STEP = re.compile(r"Step \d+/\d+ : ")
_PLATFORM_LINE = re.compile(r"(END|REPORT) RequestId: |\[(build |output |The |Function |Container )")
_BUILDER_LINE = re.compile(r"\s*---> |Removing intermediate|\[build |The command '/")
_START_LINE = re.compile(r"START RequestId: ")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Characters that would turn the text around them: a quotation must not change what stands beside it.
_DIRECTION = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LAST_LINE = re.compile(r"((?:[A-Za-z_]\w*\.)*[A-Z]\w*)(?:: (.*))?$")
_NO_MODULE = re.compile(r"\S*python[\d.]*: (No module named \S+)$")


def _frames(trace: Iterable[Any]) -> tuple[_Frame, ...]:
    """The entries of a stack trace: texts of one or two lines each, or the lines one by one."""
    frames: list[_Frame] = []
    for line in "\n".join(str(entry).rstrip("\n") for entry in trace).splitlines():
        if found := _FRAME.match(line):
            frames.append(_Frame(found[1], int(found[2][:9]), found[3] or "the module", ""))
        elif frames and not frames[-1].code and line.strip(" ^~"):
            last = frames[-1]
            frames[-1] = _Frame(last.file, last.line, last.function, line.strip())
    return tuple(frames)


def _last_words(lines: Sequence[str]) -> tuple[str | None, str, tuple[_Frame, ...]]:
    """Type, message and trace of the exception with which a process ended, when that is the last thing it printed."""
    said = [line for line in _own_lines(lines) if line.strip()]
    if not said:
        return None, "", ()
    if found := _NO_MODULE.match(said[-1]):
        return "ModuleNotFoundError", found[1], ()
    found = _LAST_LINE.match(said[-1])
    begin = next((n for n in reversed(range(len(said))) if said[n].startswith("Traceback (most recent call")), None)
    # Between the two only the trace's own lines, which are indented: otherwise it went on after the exception.
    if found is None or begin is None or not all(line.startswith("  ") for line in said[begin + 1 : -1]):
        return None, "", ()
    return found[1].rpartition(".")[2], found[2] or "", _frames(said[begin + 1 : -1])


def _own_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """What the function printed for this invocation, without the lines of the platform and empty ones."""
    begin = next((number for number in reversed(range(len(lines))) if _START_LINE.match(lines[number])), -1)
    return tuple(line for line in lines[begin + 1 :] if line.strip() and not _PLATFORM_LINE.match(line))


def _step(output: Sequence[str]) -> str | None:
    """The step of the Dockerfile that was the last to begin."""
    return next((line for line in reversed(output) if _STEP.match(line)), None)


def _after(output: Sequence[str], step: str | None) -> list[str]:
    """What that step printed."""
    begin = next((number for number in reversed(range(len(output))) if output[number] == step), -1)
    printed = output[begin + 1 :]
    return [line for line in printed if line.strip() and not _BUILDER_LINE.match(line)]


def _at(step: str | None) -> str:
    return f" at {_cut(step.replace(' : ', ', '), 120)}" if step else ""


def _build_shown(case: _Case, step: str | None, telling: str | None = None) -> tuple[str, ...]:
    """Evidence: the step, the line that gives it away, and its last lines."""
    last = _after(case.output, step)[-BUILD_LINES:]
    lines = [*([step] if step else []), *([telling] if telling and telling not in last else []), *last]
    return _quoted(lines) or _quoted([case.detail])


def _has_no_connection(case: _Case) -> bool:
    if case.type is None:
        return False
    if CERTAINLY_NO_CONNECTION.search(case.message):
        return True
    in_network_code = bool(case.trace) and NETWORK_FILES.search(case.trace[-1].file) is not None
    is_about_connections = in_network_code or case.type == "MlflowException" or CONNECTION_TYPES.fullmatch(case.type)
    return bool(is_about_connections and PERHAPS_NO_CONNECTION.search(case.message))


def _is_about_mlflow(case: _Case) -> bool:
    """By the address, where the message names one: MLflow's code may be on the way to another one, or the reverse."""
    if _host(case) is not None:
        return MLFLOW_ADDRESS.search(case.message) is not None
    return "mlflow" in case.message.lower() or any(
        "/mlflow/" in frame.file or re.search(r"\bmlflow\b", frame.code) for frame in case.trace
    )


def _host(case: _Case) -> str | None:
    """The machine that was to be reached, where the message names it."""
    found = re.search(r"host='([^']{1,200})'|://([^/\s:'\"]{1,200})", case.message)
    return (found[1] or found[2]) if found else None


def _raised(case: _Case) -> str:
    frame = case.own_frame
    return f"{_cut(case.said, 200).rstrip('.')}{f' ({frame.place})' if frame else ''}"


def _clean(text: str) -> str:
    return _DIRECTION.sub("", _ESCAPES.sub("", text.replace("\t", "    "))).rstrip()


def _quoted(lines: Iterable[str]) -> tuple[str, ...]:
    """Lines as evidence: clean, short and few; the last ones where there are more."""
    clean = [_cut(one, MAX_LINE) for line in lines for one in _clean_lines(line)]
    return tuple(clean[-MAX_EVIDENCE_LINES:])


def _clean_lines(text: str) -> list[str]:
    return [line for line in map(_clean, text.splitlines()) if line.strip()]


def _cut(text: str, length: int) -> str:
    text = " ".join(_clean_lines(text)) if "\n" in text else _clean(text)
    return text if len(text) <= length else text[: length - 3] + "..."
