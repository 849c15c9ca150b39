"""Recipes that the ranking compares."""

from __future__ import annotations

from ablate.records.recipe import Recipe
from ablate.records.trick import PLACEBO


def same_recipe(winner: Recipe, baseline: Recipe) -> bool:
    """Whether the two differ in nothing but the placebo."""
    return winner.without(PLACEBO) == baseline.without(PLACEBO)
