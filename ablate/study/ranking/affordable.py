"""The tricks for whose ranking there is time: those of the study, or the most widely used of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import fmean

from ablate.ranking.designs.racing import Racing
from ablate.records.designs import ADD_ONE, TUNED
from ablate.records.recipe import Recipe
from ablate.study.budget import PLANNED, seconds_left
from ablate.study.fit import FITTING, Costs, StudyFit, in_order, largest, named_in, usual
from ablate.study.ranking.arms import estimands_of
from ablate.study.ranking.budget import RankBudget, seconds_of, wall_seconds
from ablate.study.ranking.divide import LONGEST
from ablate.study.ranking.estimates import FLOOR, LEVELS, expected, runs_for_trials
from ablate.study.ranking.plan import arms_on
from ablate.study.remaining_time import minutes
from ablate.study.session import Session
from ablate.study.stopwatch import seconds_of_each

FEWEST = 3
"""Fewest tricks that are ranked, however long it takes."""
WITH_TRICK = 1.7
"""Duration of a run with one of the tricks, as a multiple of one without, before any was timed (the mean of digits' and diabetes' spaces)."""


def affordable(session: Session, candidates: Sequence[str], baseline: Recipe, winner: Recipe) -> list[str]:
    """The candidates that are ranked; why the others are not is in the ledger's fact "budget".

    With a budget of time: all, unless the stages before the ranking took longer than planned. Without one: as many as can be ranked in `LONGEST`.
    A budget in runs, and a design that is not the default, rank all.
    """
    ordered = sorted(candidates, key=usual)
    if session.study.rank.design != TUNED:
        return ordered
    if session.study.rank.budget:
        return _in_time_left(session, ordered, baseline, winner)
    return _in_default_time(session, ordered, baseline, winner)


def _in_time_left(session: Session, ordered: list[str], baseline: Recipe, winner: Recipe) -> list[str]:
    """The most widely used ones, `FEWEST` at least, and those of the baseline. The fact gets the others as "late"."""
    division, ledger = session.ledger.fact("budget", {}), session.ledger
    left = seconds_left(division, ledger.fact("timings", {}))
    each = seconds_of(ledger.entries("lr-find", scores=False))
    if left is None or each is None or division.get("rank") != session.study.rank.budget:
        return ordered
    references = len(estimands_of(winner, baseline))
    costs = Costs({"": each, **dict.fromkeys(ordered, each)}, session.workers)
    fitting = largest(len(ordered), lambda n: costs.ranking(ordered[:n], max(FITTING), references) <= left)
    ranked = ordered[: max(FEWEST, fitting)]
    late = [name for name in ordered if name not in (*ranked, *baseline)]
    if late:
        session.progress.say(
            f"the stages before took longer than planned: {', '.join(late)} not ranked, for lack of time"
        )
        ledger.put("budget", {**division, "late": late})
    return ranked


def _in_default_time(session: Session, ordered: list[str], baseline: Recipe, winner: Recipe) -> list[str]:
    """Tricks of the recipe found, those that the study names and those of the baseline come first. The fact gets the others as "fit", and as
    "add_one_only" those that are ranked on the baseline alone: all that the recipe found does not have."""
    ledger, question = session.ledger, {"tricks": ordered, "around": winner.to_dict()}
    before = ledger.fact("budget", {})
    if before.get("of") == question:
        return [name for name in ordered if name not in before["fit"]["left_out"]]
    if roughly(session, len(ordered), winner, baseline) <= LONGEST:
        if "of" in before:
            ledger.put("budget", {})
        return ordered
    session.progress.say(
        "measuring how long a run takes with each trick: all of them take longer than a ranking has"
    )
    costs, of_toggles = _measured(session, ordered, baseline, winner)
    tricks = in_order(costs.runs, {*named_in(session.study.space, ordered), *winner, *baseline})
    changed = [name for name in tricks if name in winner or name in baseline]

    def seconds(count: int, toggled: int) -> float:
        """Seconds to rank the first `count` tricks, including the first `toggled` within the recipe."""
        of_recipe = of_toggles.ranking(tricks[:toggled], FLOOR, 1) if toggled else 0.0
        return costs.ranking(tricks[:count], FLOOR, 1) + of_recipe

    both = len(tricks) if len(estimands_of(winner, baseline)) > 1 else 0
    every = seconds(len(tricks), both)
    if every <= LONGEST:
        return ordered
    few = min(len(changed), both)
    count = max(FEWEST, few, largest(len(tricks), lambda n: seconds(n, few) <= LONGEST))
    whole = every + sum(ledger.fact("timings", {}).values())
    why = f"not ranked: a ranking of all tricks takes about {minutes(every)}; --budget gives it time, --include NAME ranks it"
    left = StudyFit(session.study.search.trials, dict.fromkeys(tricks[count:], why), every=whole)
    document = {
        "asked": "", "rank": "", "of": question, "fit": {**left.to_json(), "asked": minutes_asked(LONGEST)},
        "add_one_only": [name for name in ordered if name not in changed] if both else [],
    }  # fmt: skip
    ledger.put("budget", document)
    which = "all tricks" if count == len(tricks) else f"the {count} most widely used of {len(tricks)} tricks"
    within, everywhere = (
        (" and the recipe's own tricks within the recipe", "on both") if both else ("", "on the baseline")
    )
    session.progress.say(
        f"ranking {which} on the baseline{within}; "
        f"ranking all tricks {everywhere} would take about {minutes(whole)} (--budget {minutes_asked(whole)})"
        + ("" if count == len(tricks) else "; --include NAME,NAME ranks those that you name")
    )
    return [name for name in ordered if name in tricks[:count]]


def minutes_asked(seconds: float) -> str:
    """A time in the notation of a budget, rounded up to minutes."""
    return f"{-(-seconds // 60):.0f}m"


def roughly(session: Session, tricks: int, winner: Recipe, baseline: Recipe) -> float:
    """Seconds of a ranking of so many tricks at the usual design, from what runs without further tricks took; 0 if none has been run."""
    plain = _plain(session, winner, baseline)
    arms = len(plain) * (tricks + 2)
    tuning, pairs = LEVELS[FLOOR]
    runs = expected(RankBudget(tuning, Racing.up_to(pairs), 0), arms, len(plain))
    bound = runs_for_trials(session.study.search.trials, arms, len(plain))
    runs = min(runs, bound or runs)
    return wall_seconds(runs * WITH_TRICK * fmean(plain), runs, session.workers)


def _plain(session: Session, winner: Recipe, baseline: Recipe) -> list[float]:
    """Seconds of a run of each reference; 0 where none has been run."""
    seconds = seconds_of(session.ledger.entries("lr-find", scores=False)) or 0.0
    if len(estimands_of(winner, baseline)) == 1:
        return [seconds]
    entries = [
        entry for entry in session.ledger.entries("select", scores=False) if entry.run.recipe == winner
    ]
    return [seconds, seconds_of(entries) or seconds]


def _measured(
    session: Session, ordered: Sequence[str], baseline: Recipe, winner: Recipe
) -> tuple[Costs, Costs]:
    """What a run takes on the baseline with each trick, and around the recipe found: there a trick makes it longer by as much."""
    recipes = {arm.trick: arm.recipes[0] for arm in arms_on(ADD_ONE, baseline, ordered).arms}
    until = time.perf_counter() + PLANNED[0]
    plain, *others = recipes.values()
    timed = seconds_of_each(session.context, [plain, winner, *others], session.most, session.epochs, until)
    usual_seconds = WITH_TRICK * timed[recipes[""]]
    runs = {
        name: timed.get(recipes[name], usual_seconds) if name in recipes else usual_seconds
        for name in ("", *ordered)
    }
    longer = max(timed.get(winner, timed[plain]) - timed[plain], 0.0)
    around = {name: seconds + longer for name, seconds in runs.items()}
    return Costs(runs, session.workers), Costs(around, session.workers)
