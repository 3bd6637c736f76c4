"""What a measurement gets."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.system import System

T = TypeVar("T")


@dataclass(frozen=True)
class Bench:
    """The running system, how thorough to be, and where to keep things."""

    system: System
    quick: bool
    cache: Path  # kept between runs
    directory: Path  # of this run

    def pick(self, full: T, quick: T) -> T:
        """The size of a sample, or the length of a run."""
        return quick if self.quick else full

    def say(self, text: str) -> None:
        """Tell whoever waits."""
        print(f"    {text}", file=sys.stderr, flush=True)
