"""The lean recipe, which is recommended if the ladder to it shows a gain.

It is the recipe found without the tricks that hurt in it, without those that the baseline lacks and that have no measurable effect, as far as it is not
worse without them together (two tricks may each be dispensable only because the other is there), and with those that help in it, as far as it is
better with them. A trick in whose place the baseline's choice of the slot (its optimizer, its schedule) does as well has no effect either. After a ranking on the baseline alone, it is the baseline with all tricks that help it. Where a rung of the ladder is better than
the lean recipe, that rung is recommended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ablate.ranking.estimands import reference_of
from ablate.records.designs import ADD_ONE, TOGGLE
from ablate.records.recipe import Catalogue, Recipe, conflict
from ablate.records.study_rank import OPTIMIZER
from ablate.records.trick import PLACEBO
from ablate.study.ranking.arms import rate_of, with_rate
from ablate.study.ranking.budget import LEAN_PAIRS, RankBudget
from ablate.study.ranking.ladder import ONE_SIDED, interval, rungs_of, scores_of, train_ladder, tuned_rungs
from ablate.study.ranking.recipes import without_tricks
from ablate.study.ranking.tuned import TUNE, Tuned, TunedStage
from ablate.study.ranking.tuning_points import lattice

LADDER, LEAN = 0x1ADD, 0x1EA7
LEAN_STAGE = "lean", "rank, lean recipe"
"""The stage in the ledger and in the progress."""
NO_EFFECT = "no measurable effect"


def lean_and_ladder(
    stage: TunedStage, budget: RankBudget, tuned: Mapping[str, Tuned], fact: dict[str, Any]
) -> None:
    """Put `lean`, `ladder` and `recommended` into the fact."""
    baseline = tuned[reference_of(ADD_ONE)].recipe
    if TOGGLE not in stage.estimands:
        recipe_found = combined(stage, baseline, tuned, fact["rows"])
        if recipe_found == baseline:
            fact["lean"], fact["ladder"] = {"recipe": baseline.to_dict(), "removed": [], "added": []}, None
            fact["recommended"] = {"recipe": baseline.to_dict(), "is_baseline": True}
            stage.session.ledger.put("rank", fact)
            return
    else:
        recipe_found = tuned[reference_of(TOGGLE)].recipe
    seeds = stage.first_seeds(_pairs(stage, budget, baseline, recipe_found, fact), LEAN)
    removed = _dispensable(stage, recipe_found, tuned, fact, seeds)
    lean = without(stage, recipe_found, removed, tuned)
    added, lean = _with_helpful(stage, lean, tuned, fact, seeds)
    rungs = rungs_of(stage, baseline, lean, fact["rows"])
    unchanged = not removed and not added
    tuned_last = recipe_found if unchanged and (TOGGLE in stage.estimands or len(rungs) == 1) else None
    recipes = tuned_rungs(stage, budget, rungs, tuned_last, fact["margin"]) if rungs else [baseline]
    seeds = stage.first_seeds(len(seeds), LADDER)
    fact["lean"] = {"removed": removed, "added": added, "recipe": recipes[-1].to_dict()}
    fact["ladder"] = (
        train_ladder(stage, rungs, [baseline, *recipes], seeds, _hurting(fact)) if rungs else None
    )
    steps = fact["ladder"]["recommended"] if fact["ladder"] else 0
    gain = fact["ladder"]["steps"][(steps or len(rungs)) - 1]["gain"] if fact["ladder"] else None
    fact["recommended"] = {
        "recipe": [baseline, *recipes][steps].to_dict(),
        "is_baseline": not steps,
        "gain": gain,
        "steps": steps,
    }
    assert not steps or not _hurting(fact) & set(fact["recommended"]["recipe"])
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
    helpful = len(_helpful(stage, recipe_found, fact))
    rungs = len(rungs_of(stage, baseline, recipe_found, fact["rows"])) + helpful
    recipes = 3 + rungs + len(_ballast(stage.catalogue, recipe_found, baseline, fact)) + helpful
    left: int = budget.runs - fact["spent"]["tuning"] - fact["spent"]["race"] - rungs * budget.tuning.runs
    return max(LEAN_PAIRS[0], min(budget.lean_pairs, left // recipes))


def _ballast(
    catalogue: Catalogue, recipe_found: Recipe, baseline: Recipe, fact: Mapping[str, Any]
) -> list[str]:
    """Tricks of the recipe found, the least useful first: those that hurt in it, those that the baseline lacks and that have no measurable effect, and those
    in whose place the baseline's choice of their slot has none."""
    effects: dict[str, float] = {}
    for row in fact["rows"]:
        name, verdict, effect = row["trick"], row["verdict"], float(row["effect"])
        if row["estimand"] != TOGGLE or name == PLACEBO:
            continue
        slot = catalogue[name].slot
        replaced = recipe_found.slot(catalogue, slot) if slot else None
        if row["in_recipe"]:
            if verdict.startswith("hurts") or (verdict == NO_EFFECT and name not in baseline):
                effects.setdefault(name, effect)
        elif replaced and name in baseline and verdict == NO_EFFECT:
            effects[replaced] = -effect
    return sorted(effects, key=lambda name: effects[name])


def _hurting(fact: Mapping[str, Any]) -> set[str]:
    """The tricks that hurt in the recipe found."""
    return {
        row["trick"]
        for row in fact["rows"]
        if row["in_recipe"] and row["estimand"] == TOGGLE and row["verdict"].startswith("hurts")
    }


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
        rate = _scaled(rate, rate_of(arm.recipe, catalogue), usual)
    return with_rate(recipe, catalogue, lattice(rate) if rate and rate != usual else usual)


def _scaled(rate: float | None, own: float | None, usual: float | None) -> float | None:
    """`rate`, as many times as high as an arm's `own` rate is than the recipe's `usual` one; the arm's own where the recipe's optimizer has no rate,
    unchanged where the arm's has none."""
    if not own:
        return rate
    return rate * (own / usual) if rate and usual else own


def _same_optimizer(one: Recipe, other: Recipe, catalogue: Catalogue) -> bool:
    """Whether both train with the same optimizer, so that a rate of one is a rate for the other."""
    return one.slot(catalogue, OPTIMIZER) == other.slot(catalogue, OPTIMIZER)


def _dispensable(
    stage: TunedStage,
    recipe_found: Recipe,
    tuned: Mapping[str, Tuned],
    fact: dict[str, Any],
    seeds: Sequence[int],
) -> list[str]:
    """The tricks that are taken out of the recipe found, the least useful first.

    Those of `_ballast` are candidates. Recipes without the first 1, 2, … of them run on the
    same seeds as the recipe found; the smallest recipe goes on that is not worse by the margin (one-sided 95 % bound). The
    candidate after it stays, and the others are tried in the same way. Tricks that hurt are removed in any case.
    """
    candidates = _ballast(stage.catalogue, recipe_found, stage.baseline, fact)
    hurting = [name for name in candidates if name in _hurting(fact)]
    final = stage.is_final(recipe_found)
    tried: list[dict[str, Any]] = []
    removed: list[str] = []
    while candidates:
        ways = [[*removed, *candidates[:number]] for number in range(1, len(candidates) + 1)]
        recipes = [recipe_found, *(without(stage, recipe_found, names, tuned) for names in ways)]
        arms = {f"lean {number}": recipe for number, recipe in enumerate(recipes, len(tried))}
        whole, *leaner = scores_of(stage, arms, seeds, *LEAN_STAGE, final=final)
        steps = [
            {"without": names, **interval(scores_without - whole, ONE_SIDED)}
            for names, scores_without in zip(ways, leaner, strict=True)
        ]
        tried += steps
        harmless = max(
            (n for n, step in enumerate(steps, start=1) if step["low"] > -fact["margin"]), default=0
        )
        removed += candidates[:harmless]
        candidates = candidates[harmless + 1 :]
    fact["lean_tried"] = tried
    return list(dict.fromkeys([*removed, *hurting]))


def _helpful(stage: TunedStage, recipe: Recipe, fact: Mapping[str, Any]) -> list[str]:
    """Tricks that help where they are put into the recipe found, in place of what they exclude, the largest effect first; of those that exclude each
    other, the first one."""
    catalogue = stage.catalogue
    names: list[str] = []
    for row in sorted(fact["rows"], key=lambda row: -float(row["effect"] or 0.0)):
        name = row["trick"]
        if row["estimand"] != TOGGLE or row["in_recipe"] or name == PLACEBO or name in recipe:
            continue
        excluded = any(conflict(catalogue[name], catalogue[other]) for other in names)
        if row["verdict"].startswith("helps") and not excluded:
            names.append(name)
    return names


def _with_helpful(
    stage: TunedStage,
    lean: Recipe,
    tuned: Mapping[str, Tuned],
    fact: dict[str, Any],
    seeds: Sequence[int],
) -> tuple[list[str], Recipe]:
    """The tricks that are added to the lean recipe, and the recipe with them.

    Recipes with the first 1, 2, … of those that help in the recipe found run on the same seeds, at the rate that their arms' rates say together, at the
    last one's own and at the lean recipe's; the best mean goes on, if it is better than without them (one-sided 95 % bound): two tricks may each help
    by the same thing, or both ask for a higher rate.
    """
    catalogue, names = stage.catalogue, _helpful(stage, lean, fact)
    if not names:
        return [], lean
    found = tuned[reference_of(TOGGLE)].recipe
    usual, before = rate_of(found, catalogue), rate_of(lean, catalogue)
    together, recipe = before, lean
    recipes: list[tuple[int, Recipe]] = []
    for number, name in enumerate(names, start=1):
        arm = tuned[f"toggle: {name}"].recipe
        own = rate_of(arm, catalogue)
        another = catalogue[name].slot == OPTIMIZER and not _same_optimizer(lean, found, catalogue)
        together = own if another else _scaled(together, own, usual)
        recipe = recipe.without(*(other for other in recipe if conflict(catalogue[name], catalogue[other])))
        recipe = recipe.with_trick(catalogue, name, arm[name])
        own_rates = [
            rate_of(one, catalogue) for one in (arm, lean) if _same_optimizer(one, recipe, catalogue)
        ]
        rates = dict.fromkeys(lattice(rate) if rate else None for rate in (together, *own_rates))
        recipes += [(number, with_rate(recipe, catalogue, rate)) for rate in rates]
    arms = {"added 0": lean} | {f"added {place}": one for place, (_, one) in enumerate(recipes, start=1)}
    scores = scores_of(stage, arms, seeds, *LEAN_STAGE, final=stage.is_final(*arms.values()))
    gains = scores[1:] - scores[0]
    best = int(np.nan_to_num(gains.mean(axis=1), nan=-np.inf).argmax())
    fact["lean_added"] = [
        {"with": names[:number], "rate": rate_of(one, catalogue), **interval(gain, ONE_SIDED)}
        for (number, one), gain in zip(recipes, gains, strict=True)
    ]
    if not fact["lean_added"][best]["low"] > 0:
        return [], lean
    number, chosen = recipes[best]
    return names[:number], chosen
