"""The budget of the tuned design in runs, divided between tuning and the race before the first run.

Minutes are turned into runs twice: before tuning, by a few timed steps of groups like those of the stage, and before the
race, by the seconds that the tuning runs took. Each time the runs are declared in the ledger before they are trained, so a
resumed stage trains what it declared, whatever the machine's speed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil, sqrt
from statistics import fmean
from typing import Any

from ablate.ledger.entry import Entry
from ablate.ranking.designs.racing import PAIRS, Racing, expected_runs
from ablate.records.errors import InputError
from ablate.study.ranking.tuning_points import FEW_ROUNDS, TuningBudget, reference_tuning

DECIDED = (0.45, 0.25, 0.35, 0.4, 0.4, 0.4, 0.4, 0.4, 0.5)
"""Share of the undecided arms that a look decides, for estimates: between those of digits (0.58, 0.29, 0.45 of 76 arms) and of mammography (0.44, 0.31, 0.3 of 121)."""
SLOWLY_DECIDED = (0.2, 0.15, 0.2, 0.25, 0.25, 0.25)
"""The same after little tuning."""
LEVELS = (
    (TuningBudget(21, 4, 4, 8), 200),
    (TuningBudget(12, 4, 3, 6), 200),
    (TuningBudget(9, 4, 2, 8), 200),
    (TuningBudget(9, 4, 2, 6), 200),
    (TuningBudget(9, 4, 2, 4), 200),
    (TuningBudget(9, 3, 2, 2), 60),
    (TuningBudget(7, 2, 2, 2), 60),
    (TuningBudget(5, 2, 2, 1), 60),
    (TuningBudget(4, 2, 2, 1), 60),
    (TuningBudget(3, 2, 1, 1), 60),
    (TuningBudget(1, 1, 0, 0), 8),
    (TuningBudget(1, 1, 0, 0), 5),
)
"""Tuning of an arm and its maximum number of pairs, from the desired level to the smallest one."""
TUNED, FIRST_LOOK = 9, 0.6
"""Index of the smallest of LEVELS that tunes. It is chosen where tuning and first look take no more than this share of a budget, even if the race will end before all
arms are decided: without tuning hardly any is."""
SECONDS = 165.0
"""Of lr-find, search and rank together where no budget is given and the whole design would take longer."""
PATIENCE, ENOUGH = 540.0, 0.9
"""Where no budget is given, the race goes on to so many seconds of the stage until this share of the tricks is decided."""
LONGEST = 900.0
"""Seconds of a ranking where no budget is given: fewer tricks are ranked where all of them take longer."""
LEAST_SECONDS = 45.0
"""Of the rank stage, whatever the duration of the stages before it."""
FLOOR = 2
"""Index of the smallest of LEVELS that is chosen where no budget is given."""
RUNS_PER_TRIAL = 100
"""Runs of the rank stage for each trial of the search, at most, where no budget is given and they are too few for the design at FLOOR."""
LEAST_PAIRS = 40
"""Pairs of the last look, at least, of a race whose tuning is worth them: where there is no time for all arms, those nearest to a verdict go on."""
LEAN_PAIRS = (5, 20)
"""Fewest and most seeds of every recipe in the lean stage and of every rung of the ladder."""
RUNGS = 5
"""Rungs of a ladder, and tricks of the recipe found that may be dispensable, where the recipe is not known yet."""
FEW_RUNGS = 2
"""Rungs of a ladder from the baseline to itself with the tricks that help it, before they are known."""
BUSY = 0.88
"""Share of a stage's wall time in which its workers train; the rest is between rounds."""
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
            TuningBudget(**document["tuning"]),
            Racing.from_json(document["racing"]),
            int(document["runs"]),
            str(document["asked"]),
            document.get("seconds"),
            document["seconds_per_run"],
        )

    @property
    def lean_pairs(self) -> int:
        """Seeds of every recipe in the lean stage and of every rung, where the budget leaves them."""
        return min(max(self.racing.pairs[-1] // 2, LEAN_PAIRS[0]), LEAN_PAIRS[1])

    def ladder_runs(self, rungs: int = RUNGS, pairs: int | None = None) -> int:
        """Runs that the lean stage and the ladder with so many rungs, as many of the recipe's tricks being dispensable, will probably take."""
        last = reference_tuning(self.tuning).likely
        return round((rungs - 1) * self.tuning.likely + last + (2 * rungs + 2) * (pairs or self.lean_pairs))

    @property
    def small_ladder_runs(self) -> int:
        """Runs of the ladder where the recipe found is the baseline."""
        return self.ladder_runs(FEW_RUNGS, LEAN_PAIRS[0])


@dataclass(frozen=True, slots=True)
class Spent:
    """Runs, and the seconds that they took workers."""

    runs: int
    seconds: float

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Spent:
        """What the ledger's runs have spent."""
        seconds = [entry.result.seconds for entry in entries]
        return cls(len(seconds), sum(seconds))

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
    """Mean seconds that a run took a worker; None before there is one."""
    seconds = [entry.result.seconds for entry in entries if entry.result.seconds > 0]
    return fmean(seconds) if seconds else None


def auto_seconds(timings: Mapping[str, float]) -> float:
    """Seconds of the rank stage where no budget is given; `timings`: seconds of the stages that were run."""
    return max(LEAST_SECONDS, SECONDS - sum(timings.get(stage, 0.0) for stage in ("lr-find", "search")))


def race_runs(budget: RankBudget, arms: int, references: int) -> float:
    """Runs that the races of so many arms (references among them) will probably take."""
    each = max(arms // references - 1, 1)
    decided = DECIDED if budget.tuning.rounds > FEW_ROUNDS else SLOWLY_DECIDED
    return references * expected_runs(budget.racing, each, decided)


def tuning_runs(tuning: TuningBudget, arms: int, references: int) -> int:
    """Runs to tune so many arms, references among them."""
    return round(
        (arms - references) * tuning.likely + references * reference_tuning(tuning, arms // references).likely
    )


def first_look_runs(budget: RankBudget, arms: int, references: int) -> float:
    """Runs of the tuning and of the first look of so many arms (references among them)."""
    each = max(arms // references - 1, 1)
    look = Racing(budget.racing.pairs[:1])
    return tuning_runs(budget.tuning, arms, references) + references * expected_runs(look, each, ())


def expected(budget: RankBudget, arms: int, references: int) -> float:
    """Runs that a design of so many arms (references among them) will probably take."""
    small = budget.small_ladder_runs if budget.tuning.rounds else 0
    ladder = budget.ladder_runs() if references > 1 else small
    return tuning_runs(budget.tuning, arms, references) + race_runs(budget, arms, references) + ladder


def runs_for_trials(trials: int, arms: int, references: int) -> int | None:
    """Runs of the rank stage that a small search bounds it to where no budget is given, at least those of the smallest design; None
    where the design at FLOOR takes no more than RUNS_PER_TRIAL for each trial: then time bounds it."""
    floor, smallest = (
        expected(RankBudget(tuning, Racing.up_to(pairs), 0), arms, references)
        for tuning, pairs in (LEVELS[FLOOR], LEVELS[-1])
    )
    return None if floor <= RUNS_PER_TRIAL * trials else max(RUNS_PER_TRIAL * trials, ceil(smallest))


def divide(
    asked: str,
    arms: int,
    seconds_per_run: float | None,
    workers: int,
    *,
    references: int = 2,
    seconds: float = SECONDS,
    trials: int | None = None,
) -> RankBudget:
    """The largest design that fits into the budget.

    Without one (`asked` is empty): what a search of `trials` bounds it to, else what fits into `seconds` of wall time, at least the
    design at FLOOR. Raises InputError where a budget holds no design.
    """
    bound = None if asked or trials is None else runs_for_trials(trials, arms, references)
    if bound is not None:
        return replace(
            divide(f"{bound}runs", arms, seconds_per_run, workers, references=references), asked=""
        )
    levels = [RankBudget(tuning, Racing.up_to(pairs), 0, asked) for tuning, pairs in LEVELS]
    costs = [expected(level, arms, references) for level in levels]
    runs, wall = runs_of(asked, seconds_per_run, workers), seconds_in(asked)
    if runs is None:
        wall = seconds
        runs = int(wall * workers / seconds_per_run) if seconds_per_run else int(OVER * costs[0])
    elif costs[-1] > OVER * runs:
        least = f"{costs[-1]:.0f} runs" + (
            f", about {costs[-1] * seconds_per_run / workers:.0f} s" if seconds_per_run and wall else ""
        )
        raise InputError(
            f"budget {asked} is too small to rank {arms} arms: the smallest design takes {least}",
            hint="give more, or fewer tricks in [space] include",
        )
    smallest = len(levels) - 1 if asked else FLOOR
    level = next((i for i, cost in enumerate(costs[:smallest]) if cost <= runs), smallest)
    if (
        wall is not None
        and level > TUNED
        and first_look_runs(levels[TUNED], arms, references) <= FIRST_LOOK * runs
    ):
        level = TUNED
    if not asked and costs[level] > runs:
        runs = int(OVER * costs[level])
    return replace(levels[level], runs=runs, seconds=wall, seconds_per_run=seconds_per_run)


def after_first_tuning(
    budget: RankBudget, arms: int, seconds_per_run: float | None, workers: int, *, references: int
) -> RankBudget:
    """The budget with the tuning that its time allows, by the seconds that the tuning runs took: never less than before.

    A budget in runs stays as it is.
    """
    if budget.seconds is None or seconds_per_run is None:
        return budget
    runs = int(budget.seconds * workers / seconds_per_run)
    designs = [replace(budget, tuning=tuning, racing=Racing.up_to(pairs)) for tuning, pairs in LEVELS]
    larger = [one for one in designs if one.tuning.runs > budget.tuning.runs]
    fitting = next((one for one in larger if expected(one, arms, references) <= runs), budget)
    return replace(budget, tuning=fitting.tuning)


def after_tuning(
    budget: RankBudget, arms: int, seconds_per_run: float | None, workers: int, *, references: int
) -> RankBudget:
    """The budget with the race that the rest of its time allows, by the seconds that a tuning run took. No more pairs than the
    tuning is worth: they do not narrow the part of an interval that tuning leaves open.

    A budget in runs stays as it is.
    """
    if budget.seconds is None or seconds_per_run is None:
        return budget
    seconds = budget.seconds if budget.asked else max(budget.seconds, PATIENCE)
    runs = int(seconds * workers / seconds_per_run)
    least = LEAST_PAIRS if budget.asked else LEVELS[FLOOR][1]
    most = max(pairs for tuning, pairs in LEVELS if tuning.runs <= budget.tuning.runs)
    choices = [
        replace(budget, racing=Racing.up_to(pairs))
        for pairs in sorted({*PAIRS, most}, reverse=True)
        if min(least, most) <= pairs <= most
    ]
    fitting = next((one for one in choices if expected(one, arms, references) <= runs), choices[-1])
    least_runs = expected(fitting, arms, references)
    if not budget.asked and least_runs > runs:
        runs = int(OVER * least_runs)
    return replace(fitting, runs=runs, seconds_per_run=seconds_per_run)


def fits(
    budget: RankBudget, spent: Spent, runs: int, seconds: float, workers: int, decided: float = 1.0
) -> bool:
    """Whether `runs` more, which take workers `seconds`, fit, with a tenth over, the share `decided` of the tricks having a verdict. A budget of time
    counts by what runs took, not by the clock: resumed, the stage ends where it would have ended."""
    if budget.seconds is None:
        return spent.runs + runs <= OVER * budget.runs
    patient = not budget.asked and decided < ENOUGH
    limit = max(budget.seconds, PATIENCE) if patient else budget.seconds
    return (spent.seconds + seconds) / (BUSY * workers) <= OVER * limit


def detectable(racing: Racing, sigma_ratio: float = 1.05) -> float:
    """The smallest effect, in σ of a run, that the last look finds nearly always (power about 0.9, ten arms in the family)."""
    return (2.81 + 1.28) * sqrt(sigma_ratio / racing.pairs[-1])
