"""How much the tuned design trains: a budget in runs, divided between tuning and the race before the first run.

Minutes are turned into runs once, by the seconds that a run took so far, and the runs are what the ledger declares: what is
trained does not depend on how fast the machine is later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from statistics import median
from typing import Any

from ablate.ledger.entry import Entry
from ablate.ranking.designs.racing import Racing, expected_runs
from ablate.records.errors import InputError
from ablate.study.ranking.tuning import TuningBudget

DECIDED = (0.2, 0.2, 0.3, 0.35, 0.4, 0.4, 0.4, 0.4, 0.5)
"""Share of the undecided arms that a look decides, as it was in simulations of arms without effect or with one of a σ."""
LEVELS = (
    (TuningBudget(21, 3, 8), 200),
    (TuningBudget(21, 3, 8), 90),
    (TuningBudget(21, 3, 8), 60),
    (TuningBudget(21, 4, 5), 40),
    (TuningBudget(12, 3, 4), 40),
    (TuningBudget(7, 2, 3), 27),
    (TuningBudget(5, 2, 2), 18),
    (TuningBudget(3, 1, 0), 12),
    (TuningBudget(1, 1, 0), 8),
)
"""Tuning of an arm, and its pairs at the most; from what is wanted to what is left where runs are dear."""
SECONDS = 240.0
"""What is chosen where nobody says and the whole design would take longer; never less than the design at FLOOR."""
FLOOR = 5
PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|min|runs?)")
UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class RankBudget:
    """`runs`: of the whole rank stage, at most (a tenth more to finish a look). `seconds_per_run`: what they were worked out with."""

    tuning: TuningBudget
    racing: Racing
    runs: int
    asked: str = ""
    seconds_per_run: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "tuning": self.tuning.to_json(), "racing": self.racing.to_json(), "runs": self.runs, "asked": self.asked,
            "seconds_per_run": self.seconds_per_run,
        }  # fmt: skip

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> RankBudget:
        return cls(
            TuningBudget(**document["tuning"]),
            Racing.from_json(document["racing"]),
            int(document["runs"]),
            str(document["asked"]),
            document["seconds_per_run"],
        )


def check_budget(text: str) -> str:
    """A budget as people write it: "10m", "90s", "2h" or "2000runs"; "" leaves it to the tool. Raises InputError."""
    if text and not PATTERN.fullmatch(text.strip()):
        raise InputError(f"'{text}' is not a budget", hint='write minutes or runs: "10m", "90s", "2000runs"')
    return text.strip()


def seconds_in(text: str) -> float | None:
    """Seconds that `text` asks for; None where it is empty or counts runs."""
    match = PATTERN.fullmatch(check_budget(text))
    return None if match is None or match[2].startswith("run") else float(match[1]) * UNITS[match[2]]


def runs_of(text: str, seconds_per_run: float | None, workers: int) -> int | None:
    """Runs that `text` allows; None where it is empty."""
    match = PATTERN.fullmatch(check_budget(text))
    if match is None:
        return None
    seconds = seconds_in(text)
    return (
        int(float(match[1])) if seconds is None else max(1, int(seconds * workers / (seconds_per_run or 1.0)))
    )


def seconds_of(entries: Iterable[Entry]) -> float | None:
    """Seconds that a run took a worker so far: the median of complete runs; None before there is one."""
    seconds = [entry.result.seconds for entry in entries if entry.result.epochs == entry.run.epochs]
    seconds = [value for value in seconds if value > 0]
    return median(seconds) if seconds else None


def expected(tuning: TuningBudget, racing: Racing, arms: int) -> float:
    """Runs that a design of so many arms (references among them) will probably take."""
    return arms * tuning.runs + 2 * expected_runs(racing, max(arms // 2, 1), DECIDED)


def divide(asked: str, arms: int, seconds_per_run: float | None, workers: int) -> RankBudget:
    """The largest design that fits into the budget: the one asked for, else a few minutes' worth or the whole design."""
    runs = runs_of(asked, seconds_per_run, workers)
    if runs is None:
        whole = expected(LEVELS[0][0], Racing.up_to(LEVELS[0][1]), arms)
        affordable = SECONDS * workers / seconds_per_run if seconds_per_run else whole
        tuning, pairs = LEVELS[FLOOR]
        least = 1.25 * expected(tuning, Racing.up_to(pairs), arms)
        runs = int(max(min(1.25 * whole, affordable), least))
    for tuning, pairs in LEVELS:
        racing = Racing.up_to(pairs)
        if expected(tuning, racing, arms) <= runs:
            break
    return RankBudget(tuning, racing, runs, asked, seconds_per_run)


def detectable(racing: Racing, sigma_ratio: float = 1.05) -> float:
    """The smallest effect, in σ of a run, that the last look finds nearly always (power about 0.9, ten arms in the family)."""
    return (2.81 + 1.28) * sqrt(sigma_ratio / racing.pairs[-1])
