"""The lean recipe, and the ladder from the baseline to it.

Lean: the recipe found without the tricks that hurt or have no measurable effect in it, as far as it is not worse without
them together: two tricks may each be dispensable only because the other is there. After a ranking on the baseline alone, it is the baseline with
all tricks that help it. Ladder: from the baseline to the lean recipe a trick at a time, every rung tuned at the budget of an arm, all rungs on the
same fresh seeds, so that the steps add up to the whole gain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ablate.records.recipe import Recipe, conflict
from ablate.records.study_rank import OPTIMIZER
from ablate.records.trick import PLACEBO
from ablate.study.ranking.arms import LR, Arm, described, rate_of, reference_of, with_rate
from ablate.study.ranking.budget import LEAN_PAIRS, RankBudget
from ablate.study.ranking.recipes import without_tricks
from ablate.study.ranking.tune_arms import TUNING
from ablate.study.ranking.tuned import TUNE, Tuned, TunedStage
from ablate.study.ranking.tuning import seeds_of, tune
from ablate.study.ranking.tuning_points import chosen_of, lattice

Array = NDArray[np.float64]
LADDER, LEAN = 0x1ADD, 0x1EA7
BALLAST = ("hurts", "hurts a little", "no measurable effect")
CONFIDENCE, ONE_SIDED = 0.95, 0.90


def lean_and_ladder(
    stage: TunedStage, budget: RankBudget, tuned: Mapping[str, Tuned], fact: dict[str, Any]
) -> None:
    """Put `lean`, `ladder` and `recommended` into the fact."""
    baseline = tuned[reference_of("add-one")].recipe
    if "toggle" not in stage.estimands:
        recipe_found = combined(stage, baseline, tuned, fact["rows"])
        if recipe_found == baseline:
            fact["lean"], fact["ladder"] = {"recipe": baseline.to_dict(), "removed": []}, None
            fact["recommended"] = {"recipe": baseline.to_dict(), "is_baseline": True}
            stage.session.ledger.put("rank", fact)
            return
    else:
        recipe_found = tuned[reference_of("toggle")].recipe
    seeds = stage.first_seeds(_pairs(stage, budget, baseline, recipe_found, fact), LEAN)
    removed = _dispensable(stage, recipe_found, tuned, fact, seeds)
    lean = without(stage, recipe_found, removed, tuned)
    rungs = rungs_of(stage, baseline, lean, fact["rows"])
    tuned_last = recipe_found if not removed and ("toggle" in stage.estimands or len(rungs) == 1) else None
    recipes = _tuned_rungs(stage, budget, rungs, tuned_last, fact["margin"]) if rungs else [baseline]
    seeds = stage.first_seeds(len(seeds), LADDER)
    fact["lean"] = {"removed": removed, "recipe": recipes[-1].to_dict()}
    fact["ladder"] = _climb(stage, rungs, [baseline, *recipes], seeds) if rungs else None
    gain = fact["ladder"]["total"] if fact["ladder"] else None
    better = gain is not None and gain["low"] > 0
    fact["recommended"] = {
        "recipe": (recipes[-1] if better else baseline).to_dict(),
        "is_baseline": not better,
        "gain": gain,
    }
    stages = (TUNE, "lean", "ladder")
    trained = sum(len(stage.session.ledger.entries(name, scores=False)) for name in stages)
    fact["spent"]["ladder"] = trained - fact["spent"]["tuning"]
    stage.session.ledger.put("rank", fact)


def combined(
    stage: TunedStage, baseline: Recipe, tuned: Mapping[str, Tuned], rows: Sequence[Mapping[str, Any]]
) -> Recipe:
    """The baseline with every trick that helps it and without those that hurt, for a ranking on the baseline alone.

    The largest effect goes first; what it excludes is left out. One change keeps the learning rate that its arm was tuned to.
    """
    catalogue, recipe = stage.catalogue, baseline
    changes: list[str] = []
    for row in sorted(rows, key=lambda row: -abs(float(row["effect"] or 0.0))):
        name = row["trick"]
        if name == PLACEBO:
            continue
        if name in baseline:
            if row["verdict"].startswith("hurts"):
                recipe, changes = recipe.without(name), [*changes, name]
        elif row["verdict"].startswith("helps"):
            taken = [other for other in recipe if conflict(catalogue[name], catalogue[other])]
            if set(taken) <= set(baseline) and not set(taken) & set(changes):
                settings = tuned[f"add-one: {name}"].recipe[name]
                recipe = recipe.without(*taken).with_trick(catalogue, name, settings)
                if catalogue[name].slot != OPTIMIZER:
                    recipe = with_rate(recipe, catalogue, rate_of(baseline, catalogue))
                changes.append(name)
    return tuned[f"add-one: {changes[0]}"].recipe if len(changes) == 1 else recipe


def _pairs(
    stage: TunedStage, budget: RankBudget, baseline: Recipe, recipe_found: Recipe, fact: Mapping[str, Any]
) -> int:
    """Seeds of every recipe of the lean stage and the ladder: what the budget leaves, within limits."""
    rungs = len(rungs_of(stage, baseline, recipe_found, fact["rows"]))
    recipes = 2 + rungs + len(_ballast(fact))
    left: int = budget.runs - fact["spent"]["tuning"] - fact["spent"]["race"] - rungs * budget.tuning.runs
    return max(LEAN_PAIRS[0], min(budget.lean_pairs, left // recipes))


def _ballast(fact: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the tricks of the recipe found that hurt or have no measurable effect in it, the least useful first."""
    rows = [
        row
        for row in fact["rows"]
        if row["in_recipe"] and row["estimand"] == "toggle" and row["verdict"] in BALLAST
    ]
    return sorted(rows, key=lambda row: float(row["effect"]))


def without(
    stage: TunedStage, recipe_found: Recipe, names: Sequence[str], tuned: Mapping[str, Tuned]
) -> Recipe:
    """The recipe found without tricks, the baseline's choice of their slots in their place, at the rate that it probably wants: what each
    arm's own rate says, all of them together."""
    catalogue, baseline = stage.catalogue, stage.baseline
    rate = usual = rate_of(recipe_found, catalogue)
    recipe = without_tricks(recipe_found, names, baseline, catalogue)
    for name in names:
        slot = catalogue[name].slot
        back = recipe.slot(catalogue, slot) if slot else None
        arm = tuned.get(f"toggle: {back}") or tuned[f"toggle: {name}"]
        arm_rate = rate_of(arm.recipe, catalogue)
        if rate and usual and arm_rate:
            rate *= arm_rate / usual
    return with_rate(recipe, catalogue, lattice(rate) if rate and rate != usual else usual)


def _dispensable(
    stage: TunedStage,
    recipe_found: Recipe,
    tuned: Mapping[str, Tuned],
    fact: dict[str, Any],
    seeds: Sequence[int],
) -> list[str]:
    """The tricks that are taken out of the recipe found, the least useful first.

    All that hurt or have no measurable effect in it are candidates. Recipes without the first 1, 2, … of them run on the
    same seeds as the recipe found; the smallest recipe goes on that is not worse by the margin (one-sided 95 % bound). The
    candidate after it stays, and the others are tried in the same way. Tricks that hurt are removed in any case.
    """
    ballast = _ballast(fact)
    final = stage.is_final(recipe_found)
    tried: list[dict[str, Any]] = []

    def scores(number: int, recipes: Sequence[Recipe]) -> Array:
        """`[recipes, seeds]`."""
        rows = [(f"lean {number + i}", recipe, seed) for i, recipe in enumerate(recipes) for seed in seeds]
        entries = stage.train(rows, "lean", "rank, lean recipe")
        return np.array([stage.score(entry, final=final) for entry in entries]).reshape(-1, len(seeds))

    removed: list[str] = []
    candidates = [row["trick"] for row in ballast]
    while candidates:
        ways = [[*removed, *candidates[:number]] for number in range(1, len(candidates) + 1)]
        recipes = [recipe_found, *(without(stage, recipe_found, names, tuned) for names in ways)]
        whole, *leaner = scores(len(tried), recipes)
        steps = [
            {"without": names, **_interval(scores_without - whole, ONE_SIDED)}
            for names, scores_without in zip(ways, leaner, strict=True)
        ]
        tried += steps
        harmless = max(
            (n for n, step in enumerate(steps, start=1) if step["low"] > -fact["margin"]), default=0
        )
        removed += candidates[:harmless]
        candidates = candidates[harmless + 1 :]
    fact["lean_tried"] = tried
    hurting = [row["trick"] for row in ballast if row["verdict"].startswith("hurts")]
    return list(dict.fromkeys([*removed, *hurting]))


def rungs_of(
    stage: TunedStage, baseline: Recipe, lean: Recipe, rows: Sequence[Mapping[str, Any]]
) -> list[Arm]:
    """The steps from the baseline to the lean recipe, the largest effect on the baseline first; one trick each.

    A trick of the baseline that the recipe lacks is a step, and so are other settings of one that both have. What
    conflicts with a new trick goes in the same step.
    """
    catalogue = stage.catalogue
    effects = {row["trick"]: row["effect"] for row in rows if row["estimand"] == "add-one"}
    slots = {catalogue[name].slot: name for name in lean if catalogue[name].slot}
    changes: dict[str, tuple[str, dict[str, Any] | None]] = {}
    for name, settings in lean.items():
        if name not in baseline or _without_rate(settings) != _without_rate(baseline[name]):
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
        rungs.append(Arm("toggle", name, (recipe,), 1 if new is not None else -1, "rung"))
    return rungs


def _without_rate(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != LR}


def _tuned_rungs(
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


def _climb(
    stage: TunedStage, rungs: Sequence[Arm], recipes: Sequence[Recipe], seeds: Sequence[int]
) -> dict[str, Any]:
    """Every recipe on the same seeds: a step is a mean paired difference, and all steps add up to the total."""
    final = stage.is_final(*recipes)
    rows = [(f"ladder {number}", recipe, seed) for number, recipe in enumerate(recipes) for seed in seeds]
    entries = stage.train(rows, "ladder", "rank, ladder")
    scores = np.array([stage.score(entry, final=final) for entry in entries]).reshape(
        len(recipes), len(seeds)
    )
    steps = [
        {
            "trick": arm.trick,
            "change": "added" if arm.sign > 0 else "taken out",
            "settings": described(recipe, arm),
            "rate": rate_of(recipe, stage.catalogue),
            "recipe": recipe.to_dict(),
            **_interval(after - before),
        }
        for arm, recipe, before, after in zip(rungs, recipes[1:], scores[:-1], scores[1:], strict=True)
    ]
    return {
        "seeds": list(seeds),
        "levels": [float(value) for value in scores.mean(axis=1) * (1 if stage.session.higher else -1)],
        "steps": steps,
        "total": _interval(scores[-1] - scores[0]),
        "baseline": recipes[0].to_dict(),
    }


def _interval(differences: Any, confidence: float = CONFIDENCE) -> dict[str, Any]:
    """Mean with its t interval."""
    kept = differences[np.isfinite(differences)]
    count = len(kept)
    mean = float(kept.mean()) if count else 0.0
    error = float(kept.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0
    half = float(stats.t.ppf((1 + confidence) / 2, max(count - 1, 1))) * error
    return {"effect": mean, "low": mean - half, "high": mean + half, "pairs": count}
