"""Recipes that the ranking compares."""

from __future__ import annotations

from collections.abc import Iterable

from ablate.records.recipe import Catalogue, Recipe, conflict
from ablate.records.study_rank import OPTIMIZER
from ablate.records.trick import PLACEBO


def same_recipe(winner: Recipe, baseline: Recipe) -> bool:
    """Whether the two differ in nothing but the placebo."""
    return winner.without(PLACEBO) == baseline.without(PLACEBO)


def without_tricks(recipe: Recipe, names: Iterable[str], baseline: Recipe, catalogue: Catalogue) -> Recipe:
    """`recipe` without the tricks `names`; a slot that they leave empty gets the baseline's choice, unless that is one of them or another trick
    excludes it. An optimizer takes the place of what it excludes too, as it does in its arm (`arms_of`)."""
    names = list(names)
    recipe = recipe.without(*names)
    for name in names:
        slot = catalogue[name].slot
        back = baseline.slot(catalogue, slot) if slot and recipe.slot(catalogue, slot) is None else None
        if back is None or back in names:
            continue
        excluded = [other for other in recipe if conflict(catalogue[back], catalogue[other])]
        if slot == OPTIMIZER:
            recipe, excluded = recipe.without(*excluded), []
        if not excluded:
            recipe = recipe.with_trick(catalogue, back, baseline[back])
    return recipe
