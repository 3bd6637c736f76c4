"""Rows of features, checked against the signature of a model: what is wrong is said for every field at once."""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from errors import InvalidParameters, UnsupportedModel

MAX_ROWS = 10_000
MAX_LINES = 100  # of problems or warnings; the rest is only counted
MAX_NAME = 100  # characters of an unknown column that are repeated in a message
LARGEST = 3.4028234e38  # what a 32-bit float holds: trees compute with no more

Row = list[Any]  # one value for each column, in the model's order


@dataclass(frozen=True)
class Column:
    """One feature a model wants."""

    name: str | None
    type: str  # MLflow's: double, float, long, integer, boolean, string
    required: bool = True
    low: float | None = None  # the range seen in training, where it is known
    high: float | None = None

    def read(self, value: Any) -> Any:
        """Return the value as the model wants it. Raises ValueError saying what it must be."""
        if value is None and not self.required:
            return None if self.type == "string" else math.nan
        if self.type == "string":
            if not isinstance(value, str):
                raise ValueError("must be text")
            return value
        if self.type == "boolean":
            if not isinstance(value, bool):
                raise ValueError("must be true or false")
            return float(value)
        return self._number(value)

    def _number(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError("must be a number")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("must be a finite number")
        if abs(value) > LARGEST:
            raise ValueError(f"must be between -{LARGEST:g} and {LARGEST:g}")
        if self.type in ("integer", "long") and value != int(value):
            raise ValueError("must be a whole number")
        return float(value)

    def warning(self, value: Any) -> str | None:
        """Say so when the value lies outside of what the model has seen."""
        if self.low is None or self.high is None or not isinstance(value, float) or self.low <= value <= self.high:
            return None
        return f"{value:g} is outside of the training range, {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Signature:
    """The columns of a model, in their order."""

    columns: tuple[Column, ...]

    @classmethod
    def from_mlmodel(cls, mlmodel: dict[str, Any]) -> "Signature":
        """Read MLflow's signature, and the training ranges that train keeps in the metadata."""
        inputs = _inputs(mlmodel)
        if not inputs:
            raise UnsupportedModel("The model has no signature, so features cannot be checked; log it with one")
        if len(inputs) == 1 and inputs[0].get("type") == "tensor":
            return cls(_tensor_columns(inputs[0]))
        columns = []
        for column in inputs:
            name, kind = column.get("name"), column.get("type")
            if kind not in ("double", "float", "long", "integer", "boolean", "string"):
                raise UnsupportedModel(f"Column {name!r} of the model is of type {kind!r}, which cannot be given here")
            columns.append(Column(name, kind, column.get("required", True), *_training_range(mlmodel, name)))
        return cls(tuple(columns))

    @cached_property
    def names(self) -> list[str]:
        return [column.name for column in self.columns if column.name is not None]

    def read(self, features: Any) -> tuple[list[Row], bool]:
        """Return the rows, and whether they were given as one row. Raises InvalidParameters with all problems."""
        rows, single = _rows(features)
        problems: list[str] = []
        read = [
            self._read_row(row, "/features" if single else f"/features/{number}", problems)
            for number, row in enumerate(rows)
        ]
        if problems:
            raise InvalidParameters(*_shortened(problems, "problems"))
        return read, single

    def warnings(self, rows: list[Row], single: bool) -> list[str]:
        """Values that no training row came near: the answer is given, but it is a guess."""
        found = []
        for number, row in enumerate(rows):
            for index, (column, value) in enumerate(zip(self.columns, row, strict=True)):
                if warning := column.warning(value):
                    place = column.name or f"feature {index + 1}"  # these are words for people, who count from 1
                    found.append(f"{place}: {warning}" if single else f"row {number + 1}, {place}: {warning}")
        return _shortened(found, "warnings")

    def _read_row(self, row: Any, pointer: str, problems: list[str]) -> Row:
        """Return the values in the model's order; when problems were added, the row is of no use."""
        if isinstance(row, dict) and self.names:
            cells = self._cells_by_name(row, pointer, problems)
        elif isinstance(row, list) and len(row) == len(self.columns):
            cells = [
                (column, value, f"{pointer}/{index}")
                for index, (column, value) in enumerate(zip(self.columns, row, strict=True))
            ]
        elif isinstance(row, list):
            names = f": {', '.join(self.names)}" if self.names else ""
            problems.append(f"{pointer}: must have {len(self.columns)} values, not {len(row)}{names}")
            return []
        else:
            by_name = ", or an object with a value for each column" if self.names else ": its columns have no names"
            problems.append(f"{pointer}: must be a list of values{by_name}")
            return []

        read = []
        for column, value, place in cells:
            try:
                read.append(column.read(value))
            except ValueError as error:
                problems.append(f"{place}: {error}")
        return read

    def _cells_by_name(self, row: dict[str, Any], pointer: str, problems: list[str]) -> list[tuple[Column, Any, str]]:
        problems.extend(
            f"{pointer}/{_escaped(name)}: is not a column of this model; it has {', '.join(self.names)}"
            for name in row
            if name not in self.names
        )
        cells = []
        for column in self.columns:
            place = f"{pointer}/{_escaped(column.name or '')}"
            if column.name in row or not column.required:
                cells.append((column, row.get(column.name), place))
            else:
                problems.append(f"{place}: is missing")
        return cells


def _rows(features: Any) -> tuple[list[Any], bool]:
    """Tell one row from many: many rows are a list of lists or of objects."""
    if isinstance(features, dict):
        return [features], True
    if not isinstance(features, list) or not features:
        raise InvalidParameters("/features: must be a row of values, a list of rows, or an object by column name")
    if not any(isinstance(row, (list, dict)) for row in features):
        return [features], True
    if len(features) > MAX_ROWS:
        raise InvalidParameters(f"/features: must be at most {MAX_ROWS} rows, not {len(features)}")
    return features, False


def _inputs(mlmodel: dict[str, Any]) -> list[dict[str, Any]]:
    """The input part of MLflow's signature; nothing when there is none, or when it is not what MLflow writes."""
    try:
        inputs = json.loads((mlmodel.get("signature") or {}).get("inputs") or "[]")
    except (AttributeError, TypeError, ValueError):
        return []
    return inputs if isinstance(inputs, list) and all(isinstance(column, dict) for column in inputs) else []


def _training_range(mlmodel: dict[str, Any], name: str | None) -> tuple[float | None, float | None]:
    try:
        low, high = mlmodel["metadata"]["training_ranges"][name]
        return float(low), float(high)
    except (KeyError, TypeError, ValueError):
        return None, None  # a model that was not trained here


def _tensor_columns(spec: dict[str, Any]) -> tuple[Column, ...]:
    """A model that was logged with a plain array: so many numbers, without names."""
    shape = spec["tensor-spec"]["shape"]
    if len(shape) != 2 or shape[1] < 1 or not spec["tensor-spec"]["dtype"].startswith(("float", "int", "uint")):
        raise UnsupportedModel(f"The model wants an array of shape {shape}; only rows of numbers can be given here")
    return tuple(Column(None, "double") for _ in range(shape[1]))


def _escaped(name: str) -> str:
    """As one token of a JSON pointer, on one line; a name the caller made up may be long."""
    return " ".join(name[:MAX_NAME].replace("~", "~0").replace("/", "~1").split())


def _shortened(lines: list[str], what: str) -> list[str]:
    return lines if len(lines) <= MAX_LINES else [*lines[:MAX_LINES], f"and {len(lines) - MAX_LINES} more {what}"]
