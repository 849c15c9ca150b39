"""The remaining time after lr-find, in words, from a few steps of runs with tricks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import fmean

from ablate.records.designs import ADD_ONE, TUNED
from ablate.records.recipe import Recipe
from ablate.search.pruning import expected_share
from ablate.search.space import Space
from ablate.study.growth import trials_of
from ablate.study.search import FINALISTS, REPEATS, likely_groups
from ablate.study.session import Session
from ablate.study.simplify import USUAL_RUNS
from ablate.study.stopwatch import START, seconds_of_each, seconds_per_trial

TIMED = 2
"""Groups of trials that are timed, at most."""
WHILE = 1.0
"""Seconds after which no further group of trials, or of runs with a trick each, is timed."""
LIMITS = "--budget 10m limits the whole study"


def minutes(seconds: float) -> str:
    """`40 s`, `7 min`, `3 h`."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.0f} h"


def time_left(session: Session, baseline: Recipe, space: Space, stages: Sequence[str]) -> str:
    """One line with the time of `stages`, or "" if it is unknown or nothing is left.

    A ranking that has begun, and a budget, are reported elsewhere.
    """
    from ablate.study.ranking.budget import wall_seconds
    from ablate.study.ranking.divide import LONGEST, auto_seconds, divide
    from ablate.study.ranking.estimates import LEAST_RUNS, MOST_BEFORE, likely_parts
    from ablate.study.ranking.plan import arms_on

    study, ledger = session.study, session.ledger
    if ledger.fact("rank") or study.rank.budget:
        return ""
    trials = trials_of(session) - int(ledger.fact("search", {}).get("done") or 0)
    parts: dict[str, float] = {}
    between = ""
    longest = ""
    if trials and "search" in stages:
        groups = likely_groups(session.context, study, space, session.epochs, session.lanes)
        of_trial = seconds_per_trial(session.context, groups, time.perf_counter() + WHILE, TIMED)
        runs = trials * expected_share(study.search.pruner, session.epochs) + FINALISTS * REPEATS + USUAL_RUNS
        parts["search"] = START + runs * of_trial / session.workers
    if "rank" in stages and study.rank.design == TUNED:
        recipes = [arm.recipes[0] for arm in arms_on(ADD_ONE, baseline, list(space.settings)).arms]
        arms = 2 * len(recipes)
        timed = seconds_of_each(
            session.context, recipes, session.lanes, session.epochs, time.perf_counter() + WHILE
        )
        each = fmean(timed.values())
        timings = ledger.fact("timings", {}) | parts
        budget = divide(
            "", arms, each, session.workers, seconds=auto_seconds(timings), trials=study.search.trials
        )
        of_parts = likely_parts(budget, arms, 2, margin=study.rank.margin is not None)
        number = sum(of_parts.values())
        seconds = wall_seconds(number * each, number, session.workers)
        parts["ranking"] = min(seconds, LONGEST)
        if budget.longest is not None:
            least, most = (minutes(min(share * seconds, LONGEST)) for share in (LEAST_RUNS, MOST_BEFORE))
            between = f" ({least} to {most})" if least != most else ""
            longest = f" (up to {minutes(budget.longest)} while fewer than nine tricks in ten are decided)"
    if not parts:
        return ""
    estimates = ", ".join(f"{name} about {minutes(seconds)}" for name, seconds in parts.items())
    return f"to go: {estimates}{between}{longest}; {LIMITS}"
