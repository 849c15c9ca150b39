"""The budget of a ranking: how a user writes it, what is recorded of it, and what has been spent of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, inf
from statistics import fmean
from typing import Any

from ablate.ledger.entry import Entry
from ablate.ranking.designs.racing import Racing
from ablate.records.errors import InputError
from ablate.records.study_rank import ENOUGH, longest_seconds
from ablate.study.ranking.tuning_points import TuningBudget, reference_tuning

LEAN_PAIRS = (5, 20)
"""Fewest and most seeds of every recipe in the lean stage and of every rung of the ladder."""
SHOWN = 1.96 + 1.28
"""Standard errors of an effect that a two-sided test at 5 % finds with power 0.9."""
RUNGS = 5
"""Rungs of a ladder, and tricks of the recipe found that may be dispensable, where the recipe is not known yet."""
SEARCHED = 0.3
"""Share of a study's time that a search may take, if there is not enough for all of its trials."""
BUSY, OF_DRIVER = 0.9, 0.003
"""Share of the rank stage's wall time in which workers train where runs are long (the rest is between rounds), and seconds that each run takes the driver, which records it
and chooses what is run next. Time of 14 studies from 10 ms to 0.9 s a run (2-core Intel Xeon) is within 8 % of `wall_seconds`."""
OVER = 1.1
"""A budget may be exceeded by so many times to finish a look."""
PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|min|runs?)")
UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class RankBudget:
    """`runs`: of the whole rank stage, at most (a tenth more to finish a look). `seconds`: of the stage, wall time, exceeded
    where nothing was asked for and the smallest design takes longer; None where runs were asked for. `seconds_per_run`: of one worker, what `runs` was worked out with."""

    tuning: TuningBudget
    racing: Racing
    runs: int
    asked: str = ""
    seconds: float | None = None
    seconds_per_run: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "tuning": self.tuning.to_json(), "racing": self.racing.to_json(), "runs": self.runs, "asked": self.asked,
            "seconds": self.seconds, "seconds_per_run": self.seconds_per_run,
        }  # fmt: skip

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> RankBudget:
        return cls(
            TuningBudget(
                **{name: document["tuning"][name] for name in ("first", "finalists", "repeats", "rounds")}
            ),
            Racing.from_json(document["racing"]),
            int(document["runs"]),
            str(document["asked"]),
            document.get("seconds"),
            document["seconds_per_run"],
        )

    @property
    def longest(self) -> float | None:
        """Seconds of the stage, at most; None where runs limit it."""
        return longest_seconds(self.asked, self.seconds)

    def runs_at_most(self, seconds_per_run: float, workers: int) -> int:
        """Runs of the stage, at most: those that were declared, or what the longest time allows."""
        return (
            self.runs
            if self.longest is None
            else max(self.runs, runs_in(self.longest, seconds_per_run, workers))
        )

    @property
    def lean_pairs(self) -> int:
        """Seeds of every recipe in the lean stage and of every rung, where the budget leaves them."""
        return min(max(self.racing.pairs[-1] // 2, LEAN_PAIRS[0]), LEAN_PAIRS[1])

    def ladder_runs(self, rungs: int = RUNGS, pairs: int | None = None) -> int:
        """Runs that the lean stage and the ladder with so many rungs, as many of the recipe's tricks being dispensable, will probably take."""
        last = reference_tuning(self.tuning).likely
        return round((rungs - 1) * self.tuning.likely + last + (2 * rungs + 2) * (pairs or self.lean_pairs))


def pairs_that_show(effect: float, se: float, tuning_se: float, pairs: int) -> int:
    """Seeds at which a ladder shows an effect as large as one of a race with power 0.9, within LEAN_PAIRS. `se`: its standard error after so many `pairs`,
    `tuning_se` the part that pairs do not reduce."""
    if effect == 0:
        return LEAN_PAIRS[1]
    wanted = pairs * SHOWN**2 * max(se**2 - tuning_se**2, 0.0) / effect**2
    return int(min(max(ceil(wanted), LEAN_PAIRS[0]), LEAN_PAIRS[1]))


@dataclass(frozen=True, slots=True)
class Spent:
    """Runs, and the seconds that they took workers."""

    runs: int
    seconds: float

    @classmethod
    def of(cls, entries: Iterable[Entry], counted: set[str] | None = None) -> Spent:
        """What these runs have spent, each once: arms on two references may share some. `counted`: identities that are left out; the others are added."""
        counted = set() if counted is None else counted
        new = {entry.identity: entry.result.seconds for entry in entries if entry.identity not in counted}
        counted.update(new)
        return cls(len(new), sum(new.values()))

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.runs + other.runs, self.seconds + other.seconds)


def check_budget(text: str) -> str:
    """A budget in the user's notation: "10m", "90s", "2h" or "2000runs"; "" leaves it to the tool. Raises InputError."""
    if text and not PATTERN.fullmatch(text.strip()):
        raise InputError(f"'{text}' is not a budget", hint='write minutes or runs: "10m", "90s", "2000runs"')
    return text.strip()


def seconds_in(text: str) -> float | None:
    """Seconds that `text` asks for; None where it is empty or counts runs."""
    match = PATTERN.fullmatch(check_budget(text))
    return None if match is None or match[2].startswith("run") else float(match[1]) * UNITS[match[2]]


def search_seconds(division: Mapping[str, Any]) -> float:
    """Seconds that a search may take before it begins no further trials; infinite unless the budget is a time. `division`: the ledger's
    fact "budget"."""
    whole = seconds_in(division.get("asked", ""))
    return inf if whole is None else SEARCHED * whole


def runs_of(text: str, seconds_per_run: float | None, workers: int) -> int | None:
    """Runs that `text` allows; None where it is empty."""
    match = PATTERN.fullmatch(check_budget(text))
    if match is None:
        return None
    seconds = seconds_in(text)
    return (
        int(float(match[1])) if seconds is None else max(1, runs_in(seconds, seconds_per_run or 1.0, workers))
    )


def seconds_of(entries: Iterable[Entry]) -> float | None:
    """Mean seconds that a run took a worker; None before there is one."""
    seconds = [entry.result.seconds for entry in entries if entry.result.seconds > 0]
    return fmean(seconds) if seconds else None


def wall_seconds(seconds: float, runs: float, workers: int) -> float:
    """Wall time of `runs` runs of the rank stage that take workers `seconds` in all."""
    return seconds / (BUSY * workers) + runs * OF_DRIVER


def runs_in(wall: float, seconds_per_run: float, workers: int) -> int:
    """Runs that so much wall time holds; `seconds_per_run`: of one worker."""
    return int(wall / wall_seconds(seconds_per_run, 1, workers))


def fits(
    budget: RankBudget, spent: Spent, runs: int, seconds: float, workers: int, decided: float = 1.0
) -> bool:
    """Whether `runs` more, which take workers `seconds`, fit, with a tenth over, the share `decided` of the tricks having a verdict. A budget of time
    counts by what runs took, not by the clock: resumed, the stage ends where it would have ended."""
    if budget.seconds is None or budget.longest is None:
        return spent.runs + runs <= OVER * budget.runs
    limit = budget.longest if decided < ENOUGH else budget.seconds
    return wall_seconds(spent.seconds + seconds, spent.runs + runs, workers) <= OVER * limit
