"""Recipes that the ranking compares."""

from __future__ import annotations

from ablate.ranking.designs.design import PLACEBO
from ablate.records.recipe import Recipe


def same_recipe(winner: Recipe, baseline: Recipe) -> bool:
    """Whether the two differ in nothing but the placebo."""
    return winner.without(PLACEBO) == baseline.without(PLACEBO)
