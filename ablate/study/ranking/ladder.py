"""The ladder from the baseline to the lean recipe: a trick at a time, every rung tuned at the budget of an arm, all rungs on the same fresh seeds, so that the steps
add up to the whole gain."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ablate.records.designs import ADD_ONE, TOGGLE
from ablate.records.recipe import Recipe, conflict
from ablate.records.study_rank import OPTIMIZER
from ablate.study.ranking.arms import Arm, described, rate_of, with_rate, without_rate
from ablate.study.ranking.budget import RankBudget
from ablate.study.ranking.tune_arms import TUNING
from ablate.study.ranking.tuned import TunedStage
from ablate.study.ranking.tuning import seeds_of, tune
from ablate.study.ranking.tuning_points import chosen_of

CONFIDENCE = 0.95
ONE_SIDED = 0.90
"""Confidence of a two-sided interval whose ends are one-sided 95 % bounds."""


def rungs_of(
    stage: TunedStage, baseline: Recipe, lean: Recipe, rows: Sequence[Mapping[str, Any]]
) -> list[Arm]:
    """The steps from the baseline to the lean recipe, the largest effect on the baseline first; one trick each.

    A trick of the baseline that the recipe lacks is a step, and so are other settings of one that both have. What
    conflicts with a new trick goes in the same step.
    """
    catalogue = stage.catalogue
    effects = {row["trick"]: row["effect"] for row in rows if row["estimand"] == ADD_ONE}
    slots = {catalogue[name].slot: name for name in lean if catalogue[name].slot}
    changes: dict[str, tuple[str, dict[str, Any] | None]] = {}
    for name, settings in lean.items():
        if name not in baseline or without_rate(settings) != without_rate(baseline[name]):
            changes[name] = (name, dict(settings))
    for name in baseline:
        if name not in lean and catalogue[name].slot not in slots:
            changes[name] = (name, None)
    order = sorted(changes, key=lambda name: -effects.get(name, 0.0) if changes[name][1] is not None else effects.get(name, 0.0))  # fmt: skip
    recipe, rungs = baseline, []
    for name in order:
        new = changes[name][1]
        before = recipe
        if new is None:
            if name not in recipe:  # a trick that conflicts with it replaced it
                continue
            recipe = recipe.without(name)
        else:
            trick = catalogue[name]
            recipe = recipe.without(*(other for other in recipe if conflict(trick, catalogue[other])))
            recipe = recipe.with_trick(catalogue, name, new)
            if catalogue[name].slot != OPTIMIZER:
                recipe = with_rate(recipe, catalogue, rate_of(before, catalogue))
        rungs.append(Arm(TOGGLE, name, (recipe,), 1 if new is not None else -1, "rung"))
    return rungs


def tuned_rungs(
    stage: TunedStage,
    budget: RankBudget,
    rungs: Sequence[Arm],
    recipe_found: Recipe | None,
    margin: float,
) -> list[Recipe]:
    """Each rung at its best rate, the last one, which may be recommended, as thoroughly as a reference.

    The last one is the recipe `recipe_found`, already tuned, where nothing was taken out of it.
    """
    untuned = list(rungs if recipe_found is None else rungs[:-1])
    names = {arm.name: f"rung {number}: {arm.trick}" for number, arm in enumerate(untuned)}
    common = stage.first_seeds(seeds_of(budget.tuning), TUNING)
    recipes: list[Recipe] = []
    if untuned:
        last = untuned[-1].name if recipe_found is None else ""
        points = tune(
            untuned, {name: last if name == last else "" for name in names}, stage.catalogue, budget.tuning,
            dict.fromkeys(names, common), stage.tuning_scores, margin, stage.submit_tuning,
        )  # fmt: skip
        recipes = [chosen_of(points[arm.name]).recipe for arm in untuned]
    return recipes if recipe_found is None else [*recipes, recipe_found]


def train_ladder(
    stage: TunedStage,
    rungs: Sequence[Arm],
    recipes: Sequence[Recipe],
    seeds: Sequence[int],
    hurting: Collection[str] = (),
) -> dict[str, Any]:
    """Every recipe on the same seeds: a step is a mean paired difference, and all steps add up to the total. `gain` of a step: all steps up to it.

    `recommended`: number of steps of `recommended_rung`. `hurting`: tricks without which a recipe may be recommended.
    """
    arms = {f"ladder {number}": recipe for number, recipe in enumerate(recipes)}
    scores = scores_of(stage, arms, seeds, "ladder", "rank, ladder", final=stage.is_final(*recipes))
    steps = [
        {
            "trick": arm.trick,
            "change": _change(arm, recipes[0]),
            "settings": described(recipe, arm),
            "rate": rate_of(recipe, stage.catalogue),
            "recipe": recipe.to_dict(),
            "gain": interval(after - scores[0]),
            **interval(after - before),
        }
        for arm, recipe, before, after in zip(rungs, recipes[1:], scores[:-1], scores[1:], strict=True)
    ]
    return {
        "seeds": list(seeds),
        "levels": [float(value) for value in scores.mean(axis=1) * (1 if stage.session.higher else -1)],
        "steps": steps,
        "total": interval(scores[-1] - scores[0]),
        "baseline": recipes[0].to_dict(),
        "recommended": recommended_rung(scores, [not set(hurting) & set(recipe) for recipe in recipes]),
    }


def _change(arm: Arm, baseline: Recipe) -> str:
    """What a step does with its trick."""
    if arm.sign < 0:
        return "taken out"
    return "other settings" if arm.trick in baseline else "added"


def recommended_rung(scores: NDArray[np.float64], allowed: Sequence[bool]) -> int:
    """The rung that is recommended, 0 for the baseline. `scores` `[rungs, seeds]`, the baseline's first; `allowed`: which rungs may be.

    It is the last one, if it is better than the baseline (two-sided 95 % interval) and no other such rung is better than it (one-sided 95 %
    bound); else the best of those that are better than the baseline.
    """
    last = len(scores) - 1
    better = [n for n in range(1, last + 1) if allowed[n] and interval(scores[n] - scores[0])["low"] > 0]
    best = max(better, key=lambda n: float(np.nanmean(scores[n])), default=0)
    worse = interval(scores[last] - scores[best], ONE_SIDED)["high"] < 0
    return last if last in better and not worse else best


def scores_of(
    stage: TunedStage, arms: Mapping[str, Recipe], seeds: Sequence[int], kind: str, title: str, *, final: bool
) -> NDArray[np.float64]:
    """Scores `[arms, seeds]` of recipes by arm, all on the same seeds. `kind`, `title`: the stage in the ledger and in the progress."""
    rows = [(arm, recipe, seed) for arm, recipe in arms.items() for seed in seeds]
    scores = [stage.score(entry, final=final) for entry in stage.train(rows, kind, title)]
    return np.array(scores).reshape(len(arms), len(seeds))


def interval(differences: Any, confidence: float = CONFIDENCE) -> dict[str, Any]:
    """Mean with its t interval."""
    kept = differences[np.isfinite(differences)]
    count = len(kept)
    mean = float(kept.mean()) if count else 0.0
    error = float(kept.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0
    half = float(stats.t.ppf((1 + confidence) / 2, max(count - 1, 1))) * error
    return {"effect": mean, "low": mean - half, "high": mean + half, "pairs": count}
