"""A promise of reliability or security, the check of it, and how often `make chaos` makes that check."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SKIPPED = re.compile(r"SKIPPED \[(\d+)\] (.*)")
"""A line of pytest's summary: how many tests, and where and why."""


@dataclass
class Tally:
    """`count` checks were made; `failed` says of each that failed what was seen, `skipped` of each that was not made why."""

    count: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    ends: float = inf
    """When to make no further check, by `time.monotonic`."""

    def add(self, complaint: str) -> None:
        """One more check: "" if the promise was kept, else what was seen."""
        self.count += 1
        if complaint:
            self.failed.append(complaint)

    @property
    def late(self) -> bool:
        return time.monotonic() >= self.ends


Check = Callable[[Path, int, int, Tally], None]
"""`check(folder, count, seed, tally)` adds `count` checks to the tally, in an empty folder, or fewer if it is late. Another seed
makes others. Tests of the suite ignore both."""


@dataclass(frozen=True)
class Promise:
    """`full`: how many checks `make chaos` makes."""

    name: str
    text: str
    full: int
    check: Check


def tests(*files: str) -> Check:
    """A check by tests of the suite, each of which counts as one. If all of them are skipped, nothing was checked, and that has failed."""

    def check(folder: Path, count: int, seed: int, tally: Tally) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", "--basetemp", str(folder / "t"), *files],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        for line in done.stdout.splitlines():
            word, _, rest = line.partition(" ")
            if word in ("PASSED", "FAILED", "ERROR"):
                tally.add("" if word == "PASSED" else rest)
            elif match := SKIPPED.match(line):
                tally.skipped += [match[2]] * int(match[1])
        if done.returncode not in (0, 1):
            tally.add(f"pytest ended with {done.returncode}: {done.stdout[-300:]}")
        elif not tally.count:
            why = f"all {len(tally.skipped)} were skipped: {tally.skipped[0]}" if tally.skipped else "there are no tests"  # fmt: skip
            tally.add(f"nothing was checked: {why}")

    return check
