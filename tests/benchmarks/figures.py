"""Samples and how they are written."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ENOUGH_FOR_P95 = 20
ENOUGH_FOR_P99 = 100
NOT_KNOWN = "\N{EN DASH}"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values do not exceed: one that was measured."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True)
class Spread:
    """What is told of a sample. Percentiles that the sample is too small for are None."""

    count: int
    p50: float
    p95: float | None
    p99: float | None
    last: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread | None":
        """None when nothing was measured."""
        sample = list(values)
        if not sample:
            return None
        return cls(
            len(sample),
            percentile(sample, 0.50),
            percentile(sample, 0.95) if len(sample) >= ENOUGH_FOR_P95 else None,
            percentile(sample, 0.99) if len(sample) >= ENOUGH_FOR_P99 else None,
            max(sample),
        )


def number(value: float | None) -> str:
    """Three digits that matter, thousands apart."""
    if value is None:
        return NOT_KNOWN
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    decimals = max(0, min(3, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def times(ratio: float) -> str:
    """A ratio: so many times."""
    return f"{number(ratio)} \N{MULTIPLICATION SIGN}"


def milliseconds(seconds: float | None) -> str:
    """Seconds, written in milliseconds."""
    return number(None if seconds is None else seconds * 1000)


def spread_cells(spread: Spread | None) -> list[str]:
    """n, p50, p95, p99 of seconds, as cells in milliseconds."""
    if spread is None:
        return ["0", NOT_KNOWN, NOT_KNOWN, NOT_KNOWN]
    return [str(spread.count), *map(milliseconds, (spread.p50, spread.p95, spread.p99))]
