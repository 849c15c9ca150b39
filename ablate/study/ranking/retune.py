"""A learning rate for each arm: tricks that shift the best rate are compared at their own best rates.

The recipe's rate was tuned with its tricks. Removing batch normalisation at that rate measures
the rate instead. So each level of such a trick (an optimizer, a norm, a batch size, a schedule) gets the same number of
runs, on the same rates around the recipe's and the same seed, as lanes; the recipe itself gets as many. The best
rate of an arm, relative to the recipe's best, is what every run with that level has its rate multiplied by:
where two such tricks meet in a run, their factors are multiplied, which says that they shift the best rate
independently of each other.

Google's tuning playbook calls the rate a nuisance parameter; equal budgets: Choi et al. 2019 (1910.05446).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

from ablate.ledger.entry import Entry
from ablate.ranking.designs.design import training_seed
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome
from ablate.study.ranking.design_matrix import FactorMapping, at_rate
from ablate.study.session import Planned, Session

SHIPPED = "shipped"
DECADES = (0.5, 1.0)
"""How far the grid reaches to each side: half a decade with three rates, a whole one with more."""


def grid(count: int) -> list[float]:
    """`count` (odd) factors, evenly spaced in the logarithm, 1 in the middle."""
    reach = DECADES[count > 3]
    half = count // 2
    return [10 ** (reach * i / half) for i in range(-half, half + 1)]


def arms(mapping: FactorMapping) -> dict[str, dict[str, str]]:
    """Arm -> the levels in which it differs from the shipped recipe; the shipped recipe first."""
    levels_by_arm: dict[str, dict[str, str]] = {SHIPPED: {}}
    parents = {factor.name: factor.parent for factor in mapping.factors}
    for factor in mapping.factors:
        if factor.name not in mapping.shifting:
            continue
        on: dict[str, str] = {}
        above = parents[factor.name]
        while above is not None:  # a child acts only where its parent is on
            parent = next(f for f in mapping.factors if f.name == above)
            if mapping.shipped[above] == parent.levels[0]:
                on[above] = parent.levels[1]
            above = parents[above]
        for level in factor.levels:
            if level != mapping.shipped[factor.name]:
                levels_by_arm[f"{factor.name}={level}"] = {**on, factor.name: level}
    return levels_by_arm


def declaration(mapping: FactorMapping, count: int) -> dict[str, Any] | None:
    """What is fixed before the first run; None where nothing is re-tuned."""
    if not count or not mapping.shifting:
        return None
    return {
        "rates": grid(count),
        "runs_per_arm": count,
        "arms": list(arms(mapping)),
        "factors": list(mapping.shifting),
    }


def retune(session: Session, mapping: FactorMapping) -> tuple[FactorMapping, dict[str, Any] | None]:
    """The array with its rates, and what was found: arm -> best factor, whether it is at the grid's edge."""
    declared = declaration(mapping, session.study.rank.retune)
    if declared is None:
        return mapping, None
    catalogue = session.context.catalogue
    seed = training_seed(session.study.seed, 0x12E7)
    recipes = {arm: mapping.recipe(catalogue, levels) for arm, levels in arms(mapping).items()}
    if not any(_has_rate(recipe, catalogue) for recipe in recipes.values()):
        return mapping, None
    plan = {
        arm: [
            Planned(session.run(at_rate(recipe, catalogue, factor), seed), "retune", arm=arm)
            for factor in declared["rates"]
        ]
        for arm, recipe in recipes.items()
    }
    every = [one for runs in plan.values() for one in runs]
    session.progress.stage("rank, rates", len(every) * session.epochs)
    entries = iter(session.train(every))
    best: dict[str, float] = {}
    edge: list[str] = []
    lost: list[str] = []
    for arm, runs in plan.items():
        scores = [_score(session, next(entries)) for _ in runs]
        place = choose(scores)
        best[arm] = declared["rates"][place]
        if not isfinite(scores[place]):
            lost.append(arm)
        elif place in (0, len(scores) - 1):
            edge.append(arm)
    for arm in edge:
        session.progress.say(
            f"rates: the best rate of '{arm}' is at the edge of those tried ({best[arm]:.2g} ×)"
        )
    for arm in lost:
        session.progress.say(f"rates: '{arm}' trains at none of the rates tried")
    rates = rates_of(mapping, best)
    document = {**declared, "best": best, "edge": edge, "lost": lost, "seed": seed}
    return replace(mapping, rates=rates, rate=best[SHIPPED]), document


def choose(scores: Sequence[float]) -> int:
    """The place of the best score (NaN: none); of equal ones, as accuracies often are, the nearest to the middle."""
    middle = len(scores) // 2
    if not any(isfinite(score) for score in scores):
        return middle
    top = max(score for score in scores if isfinite(score))
    return min((i for i, score in enumerate(scores) if score == top), key=lambda i: abs(i - middle))


def rates_of(mapping: FactorMapping, best: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Factor -> level -> its best rate as a multiple of the shipped recipe's best."""
    return {
        name: {
            level: best[f"{name}={level}"] / best[SHIPPED]
            for level in mapping.meaning[name]
            if f"{name}={level}" in best
        }
        for name in mapping.shifting
    }


def _score(session: Session, entry: Entry) -> float:
    return session.score(entry) if entry.result.outcome is Outcome.COMPLETE else float("nan")


def _has_rate(recipe: Recipe, catalogue: Mapping[str, Any]) -> bool:
    name = recipe.slot(catalogue, "optimizer")
    return name is not None and "lr" in recipe[name]
