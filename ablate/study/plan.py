"""The plan of a study: its runs, their time, and the effects that it can detect. Trains nothing: a few steps are timed."""

from __future__ import annotations

from dataclasses import asdict
from math import inf
from statistics import fmean
from typing import Any

from ablate.catalogue.registry import registry
from ablate.lanes.applicable import narrowed, scopes, touched
from ablate.lanes.context import TaskContext
from ablate.protocol.baseline import Baseline
from ablate.protocol.plan import expected
from ablate.records.study_rank import CONFIRM_SEEDS
from ablate.search.pruning import expected_share
from ablate.search.space import Space
from ablate.study.environment import device_of
from ablate.study.fit import COSTLY, usual
from ablate.study.kernel import choose, slower_because
from ablate.study.ranking.plan import arms_on, rank_plan
from ablate.study.request import Opened, Options
from ablate.study.resume import with_choices, worker_count
from ablate.study.search import FINALISTS, REPEATS, likely_groups, sizes_of
from ablate.study.stopwatch import seconds_of_each

AFTERWARDS, AFTERWARDS_PER_ARM = 5.0, 0.1
"""Seconds of the stages costs and report, fixed and per arm: 9 s with 27 arms, 10 s with 52, 13 s with 60 (one study each of
wine, diabetes and digits, two cores)."""


def plan(
    opened: Opened, options: Options, looked_at: TaskContext | None = None, until: float = inf
) -> dict[str, Any]:
    """The plan as a JSON-ready document. `looked_at`: the context of `opened`, if there already is one. `until`: as in `seconds_of_each`; a trick
    that is not timed counts as costly."""
    device = device_of(options.device)
    context = looked_at or TaskContext.of(with_choices(opened), registry(), device)
    study, catalogue = opened.study, registry()
    workers = worker_count(options, device)
    epochs = study.epochs or context.task.epochs
    baseline = study.baseline_recipe(catalogue, 0.05)
    context, choice = choose(
        context, baseline, kernel=options.kernel, lanes=options.lanes, memory=options.memory, workers=workers
    )
    lanes = choice.lanes
    scopes_by_trick = scopes(context)
    possible = {name: scope.why_not for name, scope in scopes_by_trick.items()}
    context = narrowed(context, scopes_by_trick)
    catalogue = context.catalogue
    space = Space.of(catalogue, study, possible, baseline, lr_center=0.05)
    sizes = sizes_of(context, study.search.trials, lanes)
    groups = likely_groups(context, study, space, epochs, lanes)
    trials = study.search.trials
    arms = arms_on("add-one", baseline, list(space.settings)).arms
    recipes = {arm.trick: arm.recipes[0] for arm in sorted(arms, key=lambda arm: usual(arm.trick))}
    taken = seconds_of_each(context, list(recipes.values()), lanes, epochs, until)
    unknown = 2 * COSTLY * taken[recipes[""]]
    by_trick = {trick: taken.get(recipe, unknown) for trick, recipe in recipes.items()}
    seconds, of_baseline = fmean(taken.values()), taken[recipes[""]]
    ranking = rank_plan(opened, options, catalogue, baseline, list(space.settings), seconds, workers)
    confirm_seeds = study.confirm.seeds or ranking.get("confirm_seeds", CONFIRM_SEEDS)
    confirm_runs = confirm_seeds * 4
    run_steps = epochs * -(-len(context.task.train) // context.task.batch_size)
    rate_search = expected(len(Baseline(baseline, catalogue).other_decays()), epochs, run_steps)
    short = rate_search.steps / run_steps * of_baseline
    share = ranking["seconds"] / ranking["seconds_of_all"] if ranking.get("seconds_of_all") else 1.0
    estimate = {
        "lr-find": short + rate_search.plan.runs * of_baseline / workers,
        "search": trials * expected_share(study.search.pruner, epochs) * seconds / workers,
        "select": FINALISTS * REPEATS * seconds / workers,
        **{
            f"rank: {part}": share * runs * seconds / workers
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
            "log10_combinations": space.size().log10_combinations,
        },
        "not_applicable": {name: why for name, why in possible.items() if why},
        "surgery": {"held": context.held.to_json(), "tricks": touched(scopes_by_trick)},
        "lr_find": {"runs": rate_search.plan.runs, "epochs": epochs, "short_steps": rate_search.steps},
        "search": {
            "trials": trials, "generation": sizes.generation, "groups": len(groups),
            "mean_lanes": trials / len(groups),
        },
        "rank": ranking,
        "confirm": {"runs_about": confirm_runs, "seeds": confirm_seeds},
        "seconds_per_run": seconds,
        "seconds_by_trick": by_trick if study.rank.design == "tuned" else {}, "estimate_seconds": estimate,
    }  # fmt: skip
