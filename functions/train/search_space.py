"""Which values a search may try, such as `{"max_depth": [null, 3, 5], "n_estimators": {"low": 50, "high": 300}}`."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import optuna

MAX_CHOICES = 100


class Dimension(Protocol):
    """One parameter of a search and the values it may take."""

    def suggest(self, trial: "optuna.Trial", name: str) -> Any: ...

    def values(self) -> list[Any] | None:
        """All values in order, or None when there are too many to count them out."""

    def as_json(self) -> Any: ...


SearchSpace = dict[str, Dimension]


@dataclass(frozen=True)
class Choices:
    """Any of the listed values."""

    options: tuple[Any, ...]

    def suggest(self, trial: "optuna.Trial", name: str) -> Any:
        return trial.suggest_categorical(name, self.options)

    def values(self) -> list[Any]:
        return list(self.options)

    def as_json(self) -> list[Any]:
        return list(self.options)


@dataclass(frozen=True)
class IntegerRange:
    """Whole numbers from low to high, both included."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def suggest(self, trial: "optuna.Trial", name: str) -> int:
        return trial.suggest_int(name, self.low, self.last, step=self.step, log=self.log)

    def values(self) -> list[int]:
        return list(range(self.low, self.last + 1, self.step))

    @property
    def last(self) -> int:
        """The highest value that whole steps reach; Optuna would round down to it as well, with a warning."""
        return self.high - (self.high - self.low) % self.step

    def as_json(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "step": self.step, "log": self.log}


@dataclass(frozen=True)
class FractionRange:
    """Any number from low to high, both included."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: "optuna.Trial", name: str) -> float:
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def values(self) -> list[float] | None:
        return [self.low] if self.low == self.high else None

    def as_json(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "log": self.log}


@dataclass(frozen=True)
class Domain:
    """The values one parameter of RandomForestClassifier accepts."""

    integers: tuple[int, int] | None = None  # both ends included
    fractions: bool = False  # above 0, up to 1
    words: tuple[str | None, ...] = ()

    def accepts(self, value: Any) -> bool:
        if value is None or isinstance(value, str):
            return value in self.words
        if isinstance(value, bool):
            return False
        if isinstance(value, int):
            return self.integers is not None and self.integers[0] <= value <= self.integers[1]
        return isinstance(value, float) and self.fractions and 0 < value <= 1

    def problem(self, value: Any) -> str | None:
        return None if self.accepts(value) else f"must be {self}"

    def __str__(self) -> str:
        accepted = ["null" if word is None else word for word in self.words]
        if self.integers:
            accepted.append(f"a whole number from {self.integers[0]} to {self.integers[1]}")
        if self.fractions:
            accepted.append("a fraction above 0 and up to 1.0")
        return " or ".join([", ".join(accepted[:-1]), accepted[-1]] if len(accepted) > 1 else accepted)


DOMAINS: dict[str, Domain] = {
    "n_estimators": Domain(integers=(1, 2000)),
    "max_depth": Domain(integers=(1, 100), words=(None,)),
    "criterion": Domain(words=("gini", "entropy", "log_loss")),
    "min_samples_split": Domain(integers=(2, 1000)),
    "min_samples_leaf": Domain(integers=(1, 1000)),
    "max_features": Domain(integers=(1, 4), fractions=True, words=("sqrt", "log2", None)),
}

DEFAULT: SearchSpace = {
    "n_estimators": IntegerRange(50, 300, step=50),
    "max_depth": Choices((None, 2, 3, 5, 8)),
    "criterion": Choices(("gini", "entropy")),
    "min_samples_split": IntegerRange(2, 10),
    "min_samples_leaf": IntegerRange(1, 5),
    "max_features": Choices(("sqrt", None)),
}


def parse(wanted: Any) -> tuple[SearchSpace, list[str]]:
    """Return the search space and everything that is wrong with it, as lines `/search_space/…: what`."""
    if not isinstance(wanted, dict):
        return {}, ["/search_space: must be an object: parameter name to choices or range"]
    space: SearchSpace = {}
    problems: list[str] = []
    for name, values in wanted.items():
        pointer = "/search_space/" + name.replace("~", "~0").replace("/", "~1")
        if name not in DOMAINS:
            problems.append(f"{pointer}: cannot be searched; choose from {', '.join(DOMAINS)}")
        elif isinstance(values, list):
            found = _choices_problems(values, DOMAINS[name], pointer)
            problems += found
            if not found:
                space[name] = Choices(tuple(dict.fromkeys(values)))
        elif isinstance(values, dict):
            found = _range_problems(values, DOMAINS[name], pointer)
            problems += found
            if not found:
                space[name] = _range(values)
        else:
            problems.append(f'{pointer}: must be a list of values or {{"low": …, "high": …}}')
    return space, problems


def size(space: SearchSpace) -> float:
    """How many combinations there are; infinite when a range is continuous."""
    counts = [math.inf if (values := dimension.values()) is None else len(values) for dimension in space.values()]
    return math.prod(counts)


def _choices_problems(values: list[Any], domain: Domain, pointer: str) -> list[str]:
    if not 1 <= len(values) <= MAX_CHOICES:
        return [f"{pointer}: must list 1 to {MAX_CHOICES} values"]
    return [f"{pointer}/{index}: {problem}" for index, value in enumerate(values) if (problem := domain.problem(value))]


def _range_problems(values: dict[str, Any], domain: Domain, pointer: str) -> list[str]:
    if not domain.integers:
        return [f"{pointer}: has no order, so list the values to choose from"]
    numbers = Domain(domain.integers, domain.fractions)
    problems = [
        f"{pointer}/{key}: is not part of a range (low, high, step, log)"
        for key in values
        if key not in ("low", "high", "step", "log")
    ]
    for end in ("low", "high"):
        if end not in values:
            problems.append(f"{pointer}: needs {end}")
        elif problem := numbers.problem(values[end]):
            problems.append(f"{pointer}/{end}: {problem}")
    return problems or _order_problems(values, pointer)


def _order_problems(values: dict[str, Any], pointer: str) -> list[str]:
    low, high, step, log = values["low"], values["high"], values.get("step"), values.get("log", False)
    if isinstance(low, int) != isinstance(high, int):
        return [f"{pointer}: low and high must both be whole numbers or both be fractions"]
    problems = [f"{pointer}: low ({low}) is greater than high ({high})"] if low > high else []
    if not isinstance(log, bool):
        problems.append(f"{pointer}/log: must be true or false")
    if step is not None:
        if not isinstance(low, int):
            problems.append(f"{pointer}/step: only ranges of whole numbers have steps")
        elif isinstance(step, bool) or not isinstance(step, int) or step < 1:
            problems.append(f"{pointer}/step: must be a whole number, 1 or greater")
        elif log and step != 1:
            problems.append(f"{pointer}/step: cannot be combined with log")
    return problems


def _range(values: dict[str, Any]) -> Dimension:
    low, high, log = values["low"], values["high"], values.get("log", False)
    if isinstance(low, int):
        return IntegerRange(low, high, values.get("step") or 1, log)
    return FractionRange(low, high, log)
