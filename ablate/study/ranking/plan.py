"""The plan of the rank stage: its runs and the effects that it can detect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ablate.catalogue.registry import registry
from ablate.records.designs import ADD_ONE, DESIGN_NOTES, TOGGLE, TUNED, TunedEstimand
from ablate.records.recipe import Recipe
from ablate.records.study_rank import check_section
from ablate.records.trick import Trick
from ablate.study.ranking.arms import Arms, arms_of, estimands_of
from ablate.study.ranking.budget import LEAN_PAIRS, RUNGS, RankBudget, wall_seconds
from ablate.study.ranking.divide import LONGEST, auto_seconds, divide
from ablate.study.ranking.estimates import (
    detectable,
    ladder_runs,
    likely_parts,
    race_runs,
    still_open_by,
    tuning_runs,
)
from ablate.study.ranking.known_recipe import known_recipe
from ablate.study.request import Opened, Options

SETTINGS = 3
"""Settings that are tried of each trick."""


def rank_plan(
    opened: Opened,
    options: Options,
    catalogue: Mapping[str, Trick],
    baseline: Recipe,
    candidates: Sequence[str],
    seconds_per_run: float,
    workers: int,
) -> dict[str, Any]:
    """Design, runs and power, JSON-ready. Raises InputError if the design is impossible.

    `seconds_per_run`: of one worker; used if the ledger has no runs of the search.
    """
    design = opened.study.rank.design
    check_section(opened.study.rank)
    if design == TUNED:
        document = tuned_plan(opened, options, baseline, candidates, seconds_per_run, workers)
    else:
        from ablate.study.ranking.array_plan import (
            array_plan,
        )  # imports pandas, which a search need not wait for

        document = array_plan(opened, options, catalogue, baseline, candidates)
    others = {name: note for name, note in DESIGN_NOTES.items() if name != design}
    return {**document, "answers": DESIGN_NOTES[design], "other_designs": others}


def tuned_plan(
    opened: Opened,
    options: Options,
    baseline: Recipe,
    candidates: Sequence[str],
    seconds_per_run: float,
    workers: int,
) -> dict[str, Any]:
    """The tuned design: arms of each reference, tuning, looks, expected runs, and the smallest effect it finds."""
    asked = opened.study.rank
    known = known_recipe(opened, options, baseline)
    arms = {ADD_ONE: arms_on(ADD_ONE, baseline, candidates)}
    counts: dict[str, int] = {ADD_ONE: len(arms[ADD_ONE].arms)}
    rungs = None
    if known.recipe is None:
        counts[TOGGLE] = counts[ADD_ONE]
    elif TOGGLE in estimands_of(known.recipe, baseline):
        arms[TOGGLE] = arms_on(TOGGLE, known.recipe, candidates)
        counts[TOGGLE] = len(arms[TOGGLE].arms)
        rungs = sum(known.recipe.get(name) != baseline.get(name) for name in {*known.recipe, *baseline})
    total = sum(counts.values())
    budget = divide(
        asked.budget,
        total,
        seconds_per_run,
        workers,
        references=len(counts),
        seconds=auto_seconds(
            known.timings or {"search": opened.study.search.trials * seconds_per_run / workers}
        ),
        trials=opened.study.search.trials,
    )
    pairs = budget.racing.pairs
    most_rungs = RUNGS if rungs is None else rungs
    chosen_by = {
        "tuning": tuning_runs(budget.tuning, total, len(counts)),
        "race": round(race_runs(budget, total, len(counts))),
        "ladder": ladder_runs(budget, len(counts), most_rungs),
    }
    of_all = wall_seconds(sum(chosen_by.values()) * seconds_per_run, sum(chosen_by.values()), workers)
    if asked.budget:
        runs = _within(chosen_by, budget, most_rungs if len(counts) > 1 else 0)
        share, of_arm = 1.0, budget.tuning.likely
    else:
        given = asked.margin is not None
        runs = likely_parts(budget, total, len(counts), margin=given, rungs=rungs)
        share, of_arm = min(1.0, LONGEST / of_all), budget.tuning.likely_runs(still_open_by(margin=given))
    seconds = share * wall_seconds(sum(runs.values()) * seconds_per_run, sum(runs.values()), workers)
    around = known.words + ("" if known.recipe else ": planned with as many arms as the baseline has")
    return {
        "design": TUNED, "around": around, "margin": asked.margin, "arms": counts,
        "left_out": {estimand: dict(one.left_out) for estimand, one in arms.items()},
        "budget": asked.budget, "runs_at_most": budget.runs_at_most(seconds_per_run, workers), "seconds_at_most": budget.longest, "tuning": budget.tuning.to_json(),
        "tuning_runs_likely": round(of_arm), "tuning_runs_at_most": budget.tuning.runs, "looks": list(pairs), "runs": runs,
        "detectable_sigma": detectable(budget.racing), "confirm_seeds": budget.lean_pairs,
        "seconds": seconds, "share": share, "seconds_of_all": of_all,
    }  # fmt: skip


def _within(runs: Mapping[str, int], budget: RankBudget, rungs: int) -> dict[str, int]:
    """What a budget leaves of the expected `runs`: the race ends before all arms are decided, and the ladder has the fewest seeds."""
    if sum(runs.values()) <= budget.runs:
        return dict(runs)
    ladder = min(runs["ladder"], budget.ladder_runs(rungs, LEAN_PAIRS[0]) if rungs else runs["ladder"])
    race = min(runs["race"], max(0, budget.runs - runs["tuning"] - ladder))
    return {**runs, "race": race, "ladder": ladder}


def arms_on(estimand: TunedEstimand, reference: Recipe, candidates: Sequence[str]) -> Arms:
    """The arms of a reference, with settings from the catalogue alone."""
    return arms_of(estimand, reference, candidates, registry(), {}, SETTINGS)
