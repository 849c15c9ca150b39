"""The plan of a study: its runs, their time, and the effects that it can detect. Trains nothing: a few steps are timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from statistics import fmean
from typing import Any

from ablate.catalogue.registry import registry
from ablate.lanes.applicable import Scope, narrowed, scopes, touched
from ablate.lanes.autotune import Choice
from ablate.lanes.context import TaskContext
from ablate.protocol.baseline import Baseline
from ablate.protocol.plan import expected
from ablate.records.designs import ADD_ONE, TUNED
from ablate.records.recipe import Recipe
from ablate.records.study import StudyFile
from ablate.records.study_rank import CONFIRM_SEEDS
from ablate.search.pruning import expected_share
from ablate.search.space import Space, missed
from ablate.study.environment import device_of
from ablate.study.fit import COSTLY, usual
from ablate.study.kernel import choose, slower_because
from ablate.study.ranking.budget import wall_seconds
from ablate.study.ranking.estimates import LEAST_RUNS, MOST_BEFORE
from ablate.study.ranking.plan import arms_on, rank_plan
from ablate.study.request import Opened, Options
from ablate.study.resume import with_choices, worker_count
from ablate.study.search import FINALISTS, REPEATS, likely_groups, sizes_of
from ablate.study.simplify import USUAL_RUNS
from ablate.study.stopwatch import START, seconds_of_each, seconds_per_trial

AFTERWARDS, AFTERWARDS_PER_ARM = 7.0, 0.07
"""Seconds of the stages costs and report and of the program's start, fixed and per arm: 10 s with 76 arms (digits), 12 with 122 (breast-cancer), 13 with 124 (wine; one
study each, two cores of an AMD EPYC); twice that on an Intel Xeon."""


@dataclass(frozen=True)
class Measurements:
    """What a plan rests on. `context`: of the catalogue that applies, with the kernel of `choice`. `seconds`: recipe -> of a run of one worker,
    of the baseline and of those with a trick each that were timed. `of_trial`: of a whole run of a trial of the search."""

    context: TaskContext
    choice: Choice
    scopes: Mapping[str, Scope]
    seconds: Mapping[Recipe, float]
    of_trial: float


def measure(
    opened: Opened, options: Options, looked_at: TaskContext | None = None, until: float = inf
) -> Measurements:
    """Choose the kernel and time the tricks of a study. `looked_at`: the context of `opened`, if there already is one. `until`: as in
    `seconds_of_each`."""
    device = device_of(options.device)
    context = looked_at or TaskContext.of(with_choices(opened), registry(), device)
    baseline = opened.study.baseline_recipe(registry(), 0.05)
    context, choice = choose(
        context, baseline, kernel=options.kernel, lanes=options.lanes, memory=options.memory,
        workers=worker_count(options, device),
    )  # fmt: skip
    scopes_by_trick = scopes(context)
    context = narrowed(context, scopes_by_trick)
    space = space_of(opened.study, context, scopes_by_trick)
    recipes = recipes_by_trick(baseline, space)
    epochs = opened.study.epochs or context.task.epochs
    seconds = seconds_of_each(context, list(recipes.values()), choice.lanes, epochs, until)
    groups = likely_groups(context, opened.study, space, epochs, choice.lanes)
    return Measurements(context, choice, scopes_by_trick, seconds, seconds_per_trial(context, groups, until))


def space_of(study: StudyFile, context: TaskContext, scopes: Mapping[str, Scope]) -> Space:
    """The search space of a study before its learning rate is known."""
    possible = {name: scope.why_not for name, scope in scopes.items()}
    baseline = study.baseline_recipe(registry(), 0.05)
    return Space.of(context.catalogue, study, possible, baseline, lr_center=0.05)


def recipes_by_trick(baseline: Recipe, space: Space) -> dict[str, Recipe]:
    """Trick -> the baseline with it, "" -> the baseline; the most widely used first."""
    arms = arms_on(ADD_ONE, baseline, list(space.settings)).arms
    return {arm.trick: arm.recipes[0] for arm in sorted(arms, key=lambda arm: usual(arm.trick))}


def plan(opened: Opened, options: Options, measurements: Measurements | None = None) -> dict[str, Any]:
    """The plan as a JSON-ready document. `measurements`: of `opened` or of a study with more tricks, if there are any; a trick that was
    not timed counts as costly."""
    measured = measurements or measure(opened, options)
    study, context, choice = opened.study, measured.context, measured.choice
    device, catalogue, lanes = context.device, context.catalogue, choice.lanes
    workers = worker_count(options, device)
    epochs = study.epochs or context.task.epochs
    baseline = study.baseline_recipe(registry(), 0.05)
    space = space_of(study, context, measured.scopes)
    trials = study.search.trials
    sizes = sizes_of(context, trials, lanes)
    groups = likely_groups(context, study, space, epochs, lanes)
    recipes = recipes_by_trick(baseline, space)
    timed = {one: measured.seconds[one] for one in recipes.values() if one in measured.seconds}
    unknown = 2 * COSTLY * timed[recipes[""]]
    by_trick = {trick: timed.get(recipe, unknown) for trick, recipe in recipes.items()}
    seconds, of_baseline = fmean(timed.values()), timed[recipes[""]]
    ranking = rank_plan(opened, options, catalogue, baseline, list(space.settings), seconds, workers)
    confirm_seeds = study.confirm.seeds or ranking.get("confirm_seeds", CONFIRM_SEEDS)
    confirm_runs = confirm_seeds * 4
    run_steps = epochs * -(-len(context.task.train) // context.task.batch_size)
    rate_search = expected(len(Baseline(baseline, catalogue).other_decays()), epochs, run_steps)
    short = rate_search.steps / run_steps * of_baseline
    share = ranking.get("share", 1.0)
    estimate = {
        "lr-find": short + rate_search.plan.runs * of_baseline / workers,
        "search": START + trials * expected_share(study.search.pruner, epochs) * measured.of_trial / workers,
        "select": (FINALISTS * REPEATS + USUAL_RUNS) * measured.of_trial / workers,
        **{
            f"rank: {part}": share * wall_seconds(runs * seconds, runs, workers)
            for part, runs in ranking["runs"].items()
            if runs
        },
        "confirm": confirm_runs * seconds / workers,
        "costs and report": AFTERWARDS + AFTERWARDS_PER_ARM * sum(ranking.get("arms", {}).values()),
    }
    return {
        "study": opened.name, "task": context.task.name, "device": str(device), "kernel": context.kernel,
        "alone_because": context.solo, "slower_because": slower_because(context), "lanes": lanes, "lanes_source": choice.source,
        "timings": [asdict(row) for row in choice.timings], "workers": workers, "epochs": epochs,
        "space": {
            "dimensions": space.size().dimensions, "tricks": list(space.settings),
            "log10_combinations": space.size().log10_combinations, "left_out": missed(study, space.left_out),
        },
        "not_applicable": {name: scope.why_not for name, scope in measured.scopes.items() if scope.why_not},
        "surgery": {"held": context.held.to_json(), "tricks": touched(measured.scopes)},
        "lr_find": {"runs": rate_search.plan.runs, "epochs": epochs, "short_steps": rate_search.steps},
        "search": {
            "trials": trials, "generation": sizes.generation, "groups": len(groups),
            "mean_lanes": trials / len(groups),
        },
        "rank": ranking,
        "confirm": {"runs_about": confirm_runs, "seeds": confirm_seeds},
        "seconds_per_run": seconds,
        "seconds_by_trick": by_trick if study.rank.design == TUNED else {}, "estimate_seconds": estimate,
        "estimate_range_seconds": list(likely_range(sum(estimate.values()), sum(v for k, v in estimate.items() if k.startswith("rank: ")), ranking)),
    }  # fmt: skip


def likely_range(total: float, of_rank: float, ranking: Mapping[str, Any]) -> tuple[float, float]:
    """Shortest and longest likely time of a study that probably takes `total` seconds, `of_rank` of them for the rank stage; both are `total` where the runs of
    the stage are given."""
    if ranking["design"] != TUNED or ranking["budget"] or ranking["seconds_at_most"] is None:
        return total, total
    others = total - of_rank
    return others + LEAST_RUNS * of_rank, others + min(MOST_BEFORE * of_rank, ranking["seconds_at_most"])
