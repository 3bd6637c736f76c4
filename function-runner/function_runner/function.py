"""A function: a folder with a Dockerfile and a handler, and what its ``function.yaml`` says about it."""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from function_runner.errors import FieldError, ParametersInvalid
from function_runner.schedule import Schedule

NAME_PATTERN = r"^[a-z][a-z0-9-]{0,40}$"

# Names the runner sets itself, or that change how any process starts; a manifest must not touch them.
RESERVED_VARIABLES = frozenset({"PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "TZ"})
RESERVED_PREFIXES = ("AWS_", "SMLOPS_", "MLFLOW_", "LAMBDA_", "_")

MAX_FIELD_ERRORS = 20
MAX_SCHEDULES = 20

# A function that may run longer than this, in seconds, is one that people wait for, not one that answers.
LONG_TIMEOUT = 60.0

MAX_MODEL_NAME = 256  # MLflow's own limit; longer ones are none

# How far the number of ready environments may grow beyond ``warm`` when the manifest does not say.
WARM_GROWTH = 4
WARM_LIMIT = 50

# A pattern such as ^(a+)+$ takes for ever to find out that a text does not match, and all that time nothing else runs.
PATTERN_SECONDS = 0.2


class Example(BaseModel):
    """Parameters to try a function with, and a name for them."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=100)] = "Example"
    parameters: dict[str, Any]


class ModelParameters(BaseModel):
    """Which two parameters of a function say what registered model an invocation uses."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=200)]
    version: Annotated[str, Field(min_length=1, max_length=200)]


# What a function may fail of by itself and still be tried again, by the code of the error.
OwnFailure = Literal["handler_error", "timed_out"]


class Manifest(BaseModel):
    """What ``function.yaml`` may say. Every field is optional; None means the runner's default applies."""

    model_config = ConfigDict(extra="forbid")

    description: Annotated[str, Field(max_length=2000)] = ""
    parameters: dict[str, Any] | None = None
    examples: Annotated[list[Example], Field(max_length=50)] = []
    timeout: Annotated[float, Field(gt=0)] | None = None  # seconds
    memory: Annotated[int, Field(ge=16, le=1_048_576)] | None = None  # MB
    cpus: Annotated[float, Field(gt=0, le=1024)] | None = None
    warm: Annotated[int, Field(ge=0, le=WARM_LIMIT)] = 0
    warm_max: Annotated[int, Field(ge=0, le=WARM_LIMIT)] | None = None
    warm_max_age: Annotated[float, Field(gt=0, le=604_800)] = 3600.0  # seconds
    max_concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    invocations_per_container: Annotated[int, Field(ge=1)] = 1
    max_idle: Annotated[float, Field(gt=0, le=604_800)] = 300.0  # seconds
    retry_on: list[OwnFailure] = []
    model: ModelParameters | None = None
    schedule: Annotated[list[Schedule], BeforeValidator(lambda said: [said] if isinstance(said, dict) else said)] = []
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str | int | float | bool] = {}

    @field_validator("parameters")
    @classmethod
    def _check_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is None:
            return None
        try:
            json.dumps(schema, allow_nan=False)
        except (TypeError, ValueError) as error:  # YAML knows dates and .nan, JSON does not
            raise ValueError(f"must be plain JSON: {error}") from error
        if schema.get("type", "object") != "object":
            raise ValueError("the schema must describe an object (type: object)")
        for reference in (*_values_of("$ref", schema), *_values_of("$dynamicRef", schema)):
            if not reference.startswith("#"):
                raise ValueError(f"$ref may only point inside the schema, not to {reference!r}")
        for pattern in _values_of("pattern", schema):
            try:
                regex.compile(pattern)
            except regex.error as error:
                raise ValueError(f"the pattern {pattern!r} is not a regular expression: {error}") from error
        if any(_values_of("patternProperties", schema)):
            raise ValueError("patternProperties is not supported: list the properties by name")
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise ValueError(f"not a JSON Schema 2020-12: {error.message} at {error.json_path}") from error
        return schema

    @model_validator(mode="after")
    def _check_together(self) -> "Manifest":
        if self.warm_max is not None and self.warm_max < self.warm:
            raise ValueError("warm_max must not be less than warm")
        declared = (self.parameters or {}).get("properties")
        if self.model is not None and isinstance(declared, dict):
            for name in (self.model.name, self.model.version):
                if name not in declared:
                    raise ValueError(f"model names the parameter {name!r}, which the schema does not have")
        return self

    @field_validator("schedule")
    @classmethod
    def _check_schedules(cls, schedules: list[Schedule]) -> list[Schedule]:
        if len(schedules) > MAX_SCHEDULES:
            raise ValueError(f"at most {MAX_SCHEDULES} schedules, not {len(schedules)}")
        names = [schedule.name for schedule in schedules]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two schedules are called {name!r}: give each a name of its own")
        return schedules

    @field_validator("environment")
    @classmethod
    def _check_environment(cls, environment: dict[str, Any]) -> dict[str, Any]:
        for name in environment:
            if name.upper() in RESERVED_VARIABLES or name.upper().startswith(RESERVED_PREFIXES):
                raise ValueError(f"{name} is set by the runner and cannot be changed")
        return environment


@dataclass(frozen=True)
class Function:
    """One function as it stands in its folder right now."""

    name: str
    folder: Path
    source_hash: str  # 64 hex digits over every file that goes into the image
    description: str
    timeout: float  # seconds the handler may run
    memory_mb: int
    cpus: float
    warm: int  # ready execution environments to keep; 0: none are
    warm_max: int  # the most to keep when calls come faster
    warm_max_age: float  # seconds after which a ready one is replaced
    max_concurrency: int | None  # None: only the runner's own limit applies
    invocations_per_container: int
    max_idle: float  # seconds after which a reused one that nobody called ends, unless it is one of ``warm``
    schema: Mapping[str, Any] | None  # JSON Schema of the parameters
    retry_on: frozenset[OwnFailure] = frozenset()  # of its own failures, in the background; without: of none
    model: ModelParameters | None = None
    examples: tuple[Mapping[str, Any], ...] = ()
    schedules: tuple[Schedule, ...] = ()  # with complete parameters
    environment: Mapping[str, str] = field(default_factory=dict)
    is_of_then: bool = False  # an image made from an earlier source, for a replay: it can be run but not built

    @property
    def key(self) -> str:
        """What is told apart where containers are kept: one of today is never taken for one of then."""
        return f"{self.name}@{self.version}" if self.is_of_then else self.name

    def of_then(self, source_hash: str, memory_mb: int | None) -> "Function":
        """The function as it was made from that source, as far as that can be run again: its image."""
        return replace(
            self,
            source_hash=source_hash,
            memory_mb=memory_mb or self.memory_mb,
            warm=0,
            warm_max=0,
            invocations_per_container=1,
            is_of_then=True,
        )

    @property
    def is_reused(self) -> bool:
        """True when a container serves more than one invocation."""
        return self.invocations_per_container > 1

    @property
    def is_long(self) -> bool:
        """True when an invocation may take minutes: such functions leave a place to those that answer at once."""
        return self.timeout > LONG_TIMEOUT

    @property
    def version(self) -> str:
        """The first 12 hex digits of the source hash: what users see as the function's version."""
        return self.source_hash[:12]

    def model_of(self, parameters: Mapping[str, Any]) -> tuple[str, str] | None:
        """Name and version (a number, ``latest`` or ``@alias``) of the model these parameters ask for.

        None when the function uses no model, or the parameters do not say which.
        """
        if self.model is None:
            return None
        name, version = parameters.get(self.model.name), parameters.get(self.model.version)
        if not isinstance(name, str) or isinstance(version, bool) or not isinstance(version, str | int):
            return None
        said = name, str(version)
        return said if max(map(len, said)) <= MAX_MODEL_NAME else None

    @property
    def default_parameters(self) -> dict[str, Any]:
        """What the schema fills in for a caller who gives nothing (top-level properties)."""
        declared = (self.schema or {}).get("properties", {})
        return {
            name: copy.deepcopy(entry["default"])
            for name, entry in declared.items()
            if isinstance(entry, Mapping) and "default" in entry
        }

    def validate(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters with the schema's defaults filled in (top-level properties), as the handler will get them.

        Raises:
            ParametersInvalid: they do not fit the schema; ``errors`` points to each place.
        """
        complete = copy.deepcopy(dict(parameters))
        if self.schema is None:
            return complete
        for name, value in self.default_parameters.items():
            complete.setdefault(name, value)
        complaints = sorted(_Validator(self.schema).iter_errors(complete), key=lambda error: list(map(str, error.path)))
        if complaints:
            # A dict keeps the order and drops repetitions: the validator reports each missing name by itself.
            found = dict.fromkeys(entry for complaint in complaints for entry in _field_errors(complaint))
            errors = list(found)[:MAX_FIELD_ERRORS]
            first = errors[0]
            raise ParametersInvalid(
                f"The parameters do not fit the schema of function {self.name!r}: "
                f"{first.pointer or 'parameters'}: {first.detail}",
                errors=errors,
                function=self.name,
            )
        return complete


def _values_of(keyword: str, schema: Any) -> Iterator[Any]:
    """What a keyword says, wherever it stands in a schema; but a property may well have the keyword's name."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == keyword and isinstance(value, dict if keyword == "patternProperties" else str):
                yield value
            elif key in ("properties", "$defs") and isinstance(value, dict):
                for nested in value.values():
                    yield from _values_of(keyword, nested)
            elif key not in ("enum", "const", "default", "examples"):
                yield from _values_of(keyword, value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _values_of(keyword, value)


def _match_pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    """The keyword ``pattern``, but with an end to its patience."""
    if not isinstance(instance, str):
        return
    try:
        matches = regex.search(pattern, instance, timeout=PATTERN_SECONDS)
    except TimeoutError:
        # Under a name of its own, so that it is not worded as a mismatch.
        yield ValidationError(f"could not be compared with the pattern {pattern} in time", validator="patternTimeout")
        return
    if matches is None:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator = extend(Draft202012Validator, {"pattern": _match_pattern})  # type: ignore[no-untyped-call]


def _field_errors(error: ValidationError) -> Iterator[FieldError]:
    """Words for one complaint of the validator, at the place a form would show it."""
    pointer = _pointer(error.absolute_path)
    instance: Any = error.instance
    if error.validator == "required":
        missing: Any = error.validator_value
        for name in missing:
            if name not in instance:
                yield FieldError(f"{pointer}/{_escape(name)}", "is required")
        return
    if error.validator == "additionalProperties" and isinstance(error.schema, Mapping):
        known = sorted(error.schema.get("properties", {}))
        for name in sorted(set(instance) - set(known)):
            yield FieldError(f"{pointer}/{_escape(name)}", f"is not a parameter here; known: {', '.join(known)}")
        return
    yield FieldError(pointer, _words(error))


# How a complaint of the validator reads; {limit} is what the schema says, {value} what came, {length} its length.
_SENTENCES = {
    "minimum": "must be at least {limit}, not {value}",
    "maximum": "must be at most {limit}, not {value}",
    "exclusiveMinimum": "must be greater than {limit}, not {value}",
    "exclusiveMaximum": "must be less than {limit}, not {value}",
    "minItems": "must have at least {limit} items, not {length}",
    "maxItems": "must have at most {limit} items, not {length}",
    "minLength": "must have at least {limit} characters, not {length}",
    "maxLength": "must have at most {limit} characters, not {length}",
    "pattern": "must match {limit}, which {value} does not",
}


def _words(error: ValidationError) -> str:
    """One complaint in plain words. Values are cut, because they are the caller's and may be long."""
    limit: Any = error.validator_value
    value = _cut(repr(error.instance), 60)
    if sentence := _SENTENCES.get(str(error.validator)):
        length = len(error.instance) if isinstance(error.instance, str | list) else 0
        return sentence.format(limit=limit, value=value, length=length)
    if error.validator == "type":
        return f"must be of type {limit if isinstance(limit, str) else ' or '.join(limit)}, not {value}"
    if error.validator == "enum":
        return f"must be one of {', '.join(map(repr, limit))}, not {value}"
    if error.validator in ("anyOf", "oneOf"):
        reasons = sorted({_cut(nested.message, 100) for nested in error.context or ()})
        return f"fits none of the allowed forms ({'; '.join(reasons)})" if reasons else "fits more than one form"
    return _cut(error.message, 300)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _pointer(path: Any) -> str:
    return "".join(f"/{_escape(str(part))}" for part in path)


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
