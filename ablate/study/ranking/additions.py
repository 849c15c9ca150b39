"""Additions: the tricks that help in the recipe found, put into the lean recipe as far as it is better with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ablate.ranking.estimands import reference_of
from ablate.records.designs import TOGGLE
from ablate.records.recipe import Catalogue, Recipe, conflict
from ablate.records.study_rank import OPTIMIZER
from ablate.records.trick import PLACEBO
from ablate.study.ranking.arms import rate_of, with_rate
from ablate.study.ranking.ballast import LEAN_STAGE, scaled
from ablate.study.ranking.ladder import ONE_SIDED, interval, scores_of
from ablate.study.ranking.tuned import Tuned, TunedStage
from ablate.study.ranking.tuning_points import lattice

RATES = 3
"""Rates that are tried of a recipe with a further trick, at most."""


def helpful(stage: TunedStage, recipe: Recipe, fact: Mapping[str, Any]) -> list[str]:
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


def with_helpful(
    stage: TunedStage,
    lean: Recipe,
    tuned: Mapping[str, Tuned],
    fact: dict[str, Any],
    seeds: Sequence[int],
    most: int,
) -> tuple[list[str], Recipe]:
    """The tricks that are added to the lean recipe, and the recipe with them.

    Recipes with the first 1, 2, … of those that help in the recipe found run on the same seeds, at the rate that their arms' rates say together, at the
    last one's own and at the lean recipe's; the best mean goes on, if it is better than without them (one-sided 95 % bound): two tricks may each help
    by the same thing, or both ask for a higher rate. `most`: such recipes, at most.
    """
    catalogue, names = stage.catalogue, helpful(stage, lean, fact)[: most // RATES]
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
        together = own if another else scaled(together, own, usual)
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


def _same_optimizer(one: Recipe, other: Recipe, catalogue: Catalogue) -> bool:
    """Whether both train with the same optimizer, so that a rate of one is a rate for the other."""
    return one.slot(catalogue, OPTIMIZER) == other.slot(catalogue, OPTIMIZER)
