"""Ballast: the tricks of the recipe found that it does not need, and which of them are taken out of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ablate.ranking.estimands import reference_of
from ablate.records.designs import TOGGLE
from ablate.records.recipe import Catalogue, Recipe
from ablate.records.trick import PLACEBO
from ablate.study.ranking.arms import rate_of, with_rate
from ablate.study.ranking.ladder import ONE_SIDED, interval, scores_of
from ablate.study.ranking.recipes import without_tricks
from ablate.study.ranking.tuned import Tuned, TunedStage
from ablate.study.ranking.tuning_points import lattice

LEAN_STAGE = "lean", "rank, lean recipe"
"""The stage in the ledger and in the progress."""
NO_EFFECT = "no measurable effect"
Step = dict[str, Any]
"""A recipe that was tried: `without` these tricks, `put_back` of the baseline in their place; and what it gives, an `interval`."""


@dataclass
class Removal:
    """`removed`: in their order. `kept`: candidate -> the step that was too bad without it; None: no run was left to try it. `tried`: all steps."""

    removed: list[str] = field(default_factory=list)
    kept: dict[str, Step | None] = field(default_factory=dict)
    tried: list[Step] = field(default_factory=list)


def ballast(
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


def hurting(fact: Mapping[str, Any]) -> set[str]:
    """The tricks that hurt in the recipe found."""
    return {name for name, verdict in _verdicts_in_recipe(fact) if verdict.startswith("hurts")}


def without_effect(fact: Mapping[str, Any]) -> list[str]:
    """The tricks of the recipe found that have no measurable effect in it."""
    return [name for name, verdict in _verdicts_in_recipe(fact) if verdict == NO_EFFECT]


def _verdicts_in_recipe(fact: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The tricks of the recipe found, with their verdicts in it."""
    return (
        (row["trick"], row["verdict"])
        for row in fact["rows"]
        if row["in_recipe"] and row["estimand"] == TOGGLE
    )


def without(stage: TunedStage, recipe: Recipe, names: Sequence[str], tuned: Mapping[str, Tuned]) -> Recipe:
    """`recipe` without tricks of the recipe found, the baseline's choice of their slots in their place, at the rate that it probably wants: what each
    arm's own rate says, all of them together."""
    catalogue = stage.catalogue
    usual = rate_of(tuned[reference_of(TOGGLE)].recipe, catalogue)
    rate = before = rate_of(recipe, catalogue)
    recipe = without_tricks(recipe, names, stage.baseline, catalogue)
    for name in names:
        slot = catalogue[name].slot
        back = recipe.slot(catalogue, slot) if slot else None
        arm = tuned.get(f"toggle: {back}") or tuned[f"toggle: {name}"]
        rate = scaled(rate, rate_of(arm.recipe, catalogue), usual)
    return with_rate(recipe, catalogue, lattice(rate) if rate and rate != before else before)


def scaled(rate: float | None, own: float | None, usual: float | None) -> float | None:
    """`rate`, as many times as high as an arm's `own` rate is than the recipe's `usual` one; the arm's own where the recipe's optimizer has no rate,
    unchanged where the arm's has none."""
    if not own:
        return rate
    return rate * (own / usual) if rate and usual else own


def dispensable(
    stage: TunedStage,
    recipes: Sequence[Recipe],
    candidates: Sequence[str],
    tuned: Mapping[str, Tuned],
    fact: Mapping[str, Any],
    seeds: Sequence[int],
    most: int,
) -> Removal:
    """The tricks that are taken out of the first of `recipes`. `candidates`: the least useful first; `most`: recipes without some of them, at most.

    Recipes without the first 1, 2, … of them run on the same seeds as `recipes`; the smallest recipe goes on that is not worse than any of these by the
    margin (one-sided 95 % bound). The candidate after it stays, and the others are tried in the same way.
    """
    removal, left, whole = Removal(), list(candidates), recipes[0]
    while left and (number := min(len(left), most - len(removal.tried))) > 0:
        ways = [[*removal.removed, *left[:count]] for count in range(1, number + 1)]
        leaner = [without(stage, whole, names, tuned) for names in ways]
        arms = {f"lean {place}": recipe for place, recipe in enumerate(dict.fromkeys([*recipes, *leaner]))}
        found = scores_of(stage, arms, seeds, *LEAN_STAGE, final=stage.is_final(*arms.values()))
        scores = dict(zip(arms.values(), found, strict=True))
        steps = [
            {
                "without": names,
                "put_back": [name for name in recipe if name not in whole],
                **_worst([interval(scores[recipe] - scores[other], ONE_SIDED) for other in recipes]),
            }
            for names, recipe in zip(ways, leaner, strict=True)
        ]
        removal.tried += steps
        harmless = max(
            (n for n, step in enumerate(steps, start=1) if step["low"] > -fact["margin"]), default=0
        )
        removal.removed += left[:harmless]
        if harmless < number:
            removal.kept[left[harmless]] = steps[harmless]
        left = left[harmless + (harmless < number) :]
    removal.kept |= dict.fromkeys(left)
    return removal


def _worst(intervals: Sequence[Step]) -> Step:
    """The one with the lowest lower end."""
    return min(intervals, key=lambda one: float(one["low"]))
