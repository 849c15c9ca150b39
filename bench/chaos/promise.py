"""A promise of reliability or security, the check of it, and how often `make chaos` makes that check."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Tally:
    """`count` checks were made; `failed` says of each that failed what was seen."""

    count: int = 0
    failed: list[str] = field(default_factory=list)

    def add(self, told: str) -> None:
        """One more check: "" if the promise was kept, else what was seen."""
        self.count += 1
        if told:
            self.failed.append(told)


@dataclass(frozen=True)
class Promise:
    """`check(folder, count)` makes `count` checks in an empty folder; one that does not count, such as tests, ignores it."""

    name: str
    text: str
    full: int
    check: Callable[[Path, int], Tally]


def tests(*files: str) -> Callable[[Path, int], Tally]:
    """A check by tests of the suite, each of which counts as one."""

    def check(folder: Path, count: int) -> Tally:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", "--basetemp", str(folder / "t"), *files],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        tally = Tally()
        for line in done.stdout.splitlines():
            word, _, rest = line.partition(" ")
            if word in ("PASSED", "FAILED", "ERROR"):
                tally.add("" if word == "PASSED" else rest)
        if done.returncode not in (0, 1) or not tally.count:
            tally.add(f"pytest ended with {done.returncode}: {done.stdout[-300:]}")
        return tally

    return check
