"""The remaining time after lr-find, in words, from the duration of its runs, which have no tricks."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.records.designs import ADD_ONE, TUNED
from ablate.records.recipe import Recipe
from ablate.study.search import FINALISTS, REPEATS
from ablate.study.session import Session
from ablate.study.simplify import USUAL_RUNS

OF_A_TRIAL = 1.6
"""Duration of a trial, pruned or not, as a multiple of a run without tricks: the median of nine searches (0.8 to 8.5)."""
LIMITS = "--budget 10m limits the whole study"


def minutes(seconds: float) -> str:
    """`40 s`, `7 min`, `3 h`."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.0f} h"


def time_left(session: Session, baseline: Recipe, candidates: Sequence[str], stages: Sequence[str]) -> str:
    """One line with the time of `stages`, or "" if it is unknown or nothing is left.

    candidates: the tricks of the space. A ranking that has begun, and a budget, are reported elsewhere.
    """
    from ablate.study.ranking.budget import seconds_of
    from ablate.study.ranking.divide import LONGEST, auto_seconds, divide
    from ablate.study.ranking.estimates import expected
    from ablate.study.ranking.plan import arms_on

    study, ledger = session.study, session.ledger
    entries = ledger.entries(scores=False)
    each = seconds_of(entry for entry in entries if entry.trial < 0)
    if each is None or ledger.fact("rank") or study.rank.budget:
        return ""
    trials = max(study.search.trials - (ledger.fact("search") or {}).get("done", 0), 0)
    parts: dict[str, float] = {}
    longest = ""
    if trials and "search" in stages:
        runs = OF_A_TRIAL * trials + FINALISTS * REPEATS + USUAL_RUNS
        parts["search"] = runs * each / session.workers
    if "rank" in stages and study.rank.design == TUNED:
        arms = 2 * len(arms_on(ADD_ONE, baseline, candidates).arms)
        timings = ledger.fact("timings", {}) | parts
        budget = divide(
            "", arms, each, session.workers, seconds=auto_seconds(timings), trials=study.search.trials
        )
        parts["ranking"] = min(expected(budget, arms, 2) * each / session.workers, LONGEST)
        if budget.longest is not None:
            longest = f" (up to {minutes(budget.longest)} while fewer than nine tricks in ten are decided)"
    if not parts:
        return ""
    estimates = ", ".join(f"{name} about {minutes(seconds)}" for name, seconds in parts.items())
    return f"to go: {estimates}{longest}, estimated from the runs so far; {LIMITS}"
