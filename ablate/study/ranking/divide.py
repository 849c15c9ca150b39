"""The budget of the tuned design in runs, divided between tuning and the race before the first run.

Minutes are turned into runs twice: before tuning, by a few timed steps of groups like those of the stage, and before the
race, by the seconds that the tuning runs took. Each time the runs are declared in the ledger before they are trained, so a
resumed stage trains what it declared, whatever the machine's speed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ablate.ranking.designs.racing import PAIRS, Racing
from ablate.records.errors import InputError
from ablate.study.ranking.budget import OVER, RankBudget, runs_in, runs_of, seconds_in, wall_seconds
from ablate.study.ranking.estimates import (
    FLOOR,
    LEVELS,
    TUNED_LEVEL,
    expected,
    first_look_runs,
    runs_for_trials,
)

FIRST_LOOK = 0.6
"""The smallest of LEVELS that tunes is chosen where tuning and first look take no more than this share of a budget, even if the race will end before all
arms are decided: without tuning hardly any is."""
SECONDS = 200.0
"""Seconds of lr-find, search and rank together where no budget is given and the whole design would take longer."""
LONGEST = 900.0
"""Seconds of a ranking where no budget is given: fewer tricks are ranked where all of them take longer."""
LEAST_SECONDS = 45.0
"""Seconds of the rank stage, whatever the duration of the stages before it."""
LONGER = (1000, 675, 450, 300)
"""Pairs of the last look where a budget is SURPLUS times what such a design takes."""
SURPLUS = 2.0
LEAST_PAIRS = 40
"""Pairs of the last look, at least, of a race whose tuning is worth them: where there is no time for all arms, those nearest to a verdict go on."""


def auto_seconds(timings: Mapping[str, float]) -> float:
    """Seconds of the rank stage where no budget is given; `timings`: seconds of the stages that were run."""
    return max(LEAST_SECONDS, SECONDS - sum(timings.get(stage, 0.0) for stage in ("lr-find", "search")))


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
        runs = runs_in(wall, seconds_per_run, workers) if seconds_per_run else int(OVER * costs[0])
    elif costs[-1] > OVER * runs:
        least = f"{costs[-1]:.0f} runs" + (
            f", about {wall_seconds(costs[-1] * seconds_per_run, costs[-1], workers):.0f} s"
            if seconds_per_run and wall
            else ""
        )
        raise InputError(
            f"budget {asked} is too small to rank {arms} arms: the smallest design takes {least}",
            hint="give more, or fewer tricks in [space] include",
        )
    smallest = len(levels) - 1 if asked else FLOOR
    level = next((i for i, cost in enumerate(costs[:smallest]) if cost <= runs), smallest)
    if (
        wall is not None
        and level > TUNED_LEVEL
        and first_look_runs(levels[TUNED_LEVEL], arms, references) <= FIRST_LOOK * runs
    ):
        level = TUNED_LEVEL
    if asked and level == 0:
        longer = (replace(levels[0], racing=Racing.up_to(pairs)) for pairs in LONGER)
        levels[0] = next(
            (one for one in longer if SURPLUS * expected(one, arms, references) <= runs), levels[0]
        )
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
    runs = runs_in(budget.seconds, seconds_per_run, workers)
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
    if budget.longest is None or seconds_per_run is None:
        return budget
    runs = runs_in(budget.longest, seconds_per_run, workers)
    least = LEAST_PAIRS if budget.asked else LEVELS[FLOOR][1]
    worth = max(pairs for tuning, pairs in LEVELS if tuning.runs <= budget.tuning.runs)
    most = max(worth, budget.racing.pairs[-1])
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
