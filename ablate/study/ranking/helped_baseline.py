"""The baseline with the tricks that help it: what is ranked by a ladder where no other recipe was shown to be better than the baseline.

A search over few trials, or one whose runs scatter much, may find a recipe that is no better than the baseline although the ranking shows tricks
that help the baseline, each by itself. These are then put together and compared with it, on the same seeds as the recipe found was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.ranking.estimands import reference_of
from ablate.records.designs import ADD_ONE
from ablate.records.recipe import Recipe, conflict
from ablate.records.study_rank import OPTIMIZER
from ablate.records.trick import PLACEBO
from ablate.study.ranking.arms import Arm, rate_of, with_rate
from ablate.study.ranking.ballast import hurting
from ablate.study.ranking.budget import LEAN_PAIRS, OVER, RankBudget, pairs_that_show
from ablate.study.ranking.ladder import rungs_of, train_ladder, tuned_rungs
from ablate.study.ranking.tuned import Tuned, TunedStage
from ablate.study.ranking.tuning_points import reference_tuning

LADDER = 0x1ADD
"""The stream of the ladder's seeds."""


@dataclass(frozen=True)
class Climb:
    """A ladder that was trained. `recipes`: the baseline's first, each as tuned; `ladder`: as in the fact, None where nothing differs from the baseline;
    `tuning`: runs that tuned its rungs, at most."""

    recipes: Sequence[Recipe]
    ladder: dict[str, Any] | None
    tuning: int = 0

    @property
    def steps(self) -> int:
        """The steps of the rung that is recommended; 0: the baseline."""
        return int(self.ladder["recommended"]) if self.ladder else 0

    @property
    def top(self) -> Recipe:
        """The last rung."""
        return self.recipes[-1]

    @property
    def gain(self) -> dict[str, Any] | None:
        """The gain of the rung that is recommended, else of the last one."""
        if not self.ladder:
            return None
        gain: dict[str, Any] = self.ladder["steps"][(self.steps or len(self.recipes) - 1) - 1]["gain"]
        return gain


def climb(
    stage: TunedStage, budget: RankBudget, baseline: Recipe, rungs: Sequence[Arm], last: Recipe | None, pairs: int, fact: Mapping[str, Any],
) -> Climb:  # fmt: skip
    """Tune and train the rungs on `pairs` seeds. `last`: the last rung where it is tuned already."""
    if not rungs:
        return Climb([baseline], None)
    recipes = [baseline, *tuned_rungs(stage, budget, rungs, last, fact["margin"])]
    seeds = stage.first_seeds(pairs, LADDER)
    ladder = train_ladder(stage, rungs, recipes, seeds, hurting(fact))
    return Climb(recipes, ladder, _tuning_runs(budget, len(rungs), last))


def instead(
    stage: TunedStage, budget: RankBudget, tuned: Mapping[str, Tuned], before: Climb, pairs: int, fact: dict[str, Any]
) -> Climb:  # fmt: skip
    """The ladder to the baseline with what helps it, if its recommended rung is better than the baseline, else the one `before`.

    The fact's `helped` has what was tried, and the `found` gain of the recipe that was not better; None where nothing helps the baseline, or what
    does was compared with it already. Where the budget leaves no runs to tune several tricks together, only the largest effect is tried, on as many
    seeds as it needs and the budget leaves.
    """
    baseline = tuned[reference_of(ADD_ONE)].recipe
    bad = hurting(fact)
    rows = [row for row in fact["rows"] if row["estimand"] == ADD_ONE and row["trick"] not in bad]
    left, needed, trained = _left(budget, before, pairs, fact), pairs_for(baseline, rows), pairs
    pairs = max(pairs, needed)
    for most in (len(rows), 1):
        recipe = with_helps(stage, baseline, tuned, rows, most)
        if recipe in before.recipes:
            continue
        rungs = rungs_of(stage, baseline, recipe, fact["rows"])
        last = recipe if len(rungs) == 1 else None
        if _tuning_runs(budget, len(rungs), last) + len(rungs) * pairs + (pairs - trained) > left:
            if last is None:
                continue
            affordable = left if left < trained else (left + trained) / 2  # the baseline has `trained` runs
            pairs = min(needed, max(LEAN_PAIRS[0], int(affordable)))
        climbed = climb(stage, budget, baseline, rungs, last, pairs, fact)
        fact["helped"] = {
            "recipe": climbed.top.to_dict(), "changes": [arm.trick for arm in rungs], "gain": climbed.gain, "found": before.gain,
            "is_recommended": bool(climbed.steps),
        }  # fmt: skip
        return climbed if climbed.steps else before
    return before


def _left(budget: RankBudget, before: Climb, pairs: int, fact: Mapping[str, Any]) -> float:
    """Runs that the budget leaves, with a tenth over, after the lean stage and the ladder `before`; from what is declared, so that it is the same where the stage
    is resumed in the middle of the next ladder."""
    recipes = 2 + len(fact.get("lean_tried", ())) + len(fact.get("lean_added", ())) + len(before.recipes)
    spent = int(fact["spent"]["tuning"]) + int(fact["spent"]["race"]) + recipes * pairs
    return OVER * budget.runs - spent - before.tuning


def _tuning_runs(budget: RankBudget, rungs: int, last: Recipe | None) -> int:
    """Runs that tune so many rungs, at most; `last`: the last one where it is tuned already."""
    of_last = 0 if last is not None else reference_tuning(budget.tuning).runs
    return (rungs - 1) * budget.tuning.runs + of_last


def _helping(baseline: Recipe, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of tricks that help the baseline, and of those in it that hurt; the largest effect first."""
    wanted = [
        row
        for row in rows
        if row["trick"] != PLACEBO
        and row["verdict"].startswith("hurts" if row["trick"] in baseline else "helps")
    ]
    return sorted(wanted, key=lambda row: -abs(float(row["effect"] or 0.0)))


def pairs_for(baseline: Recipe, rows: Sequence[Mapping[str, Any]]) -> int:
    """Seeds at which a ladder probably shows the largest of the effects that help the baseline, as the race measured it."""
    best = next(iter(_helping(baseline, rows)), None)
    return LEAN_PAIRS[0] if best is None else pairs_that_show(best["effect"], best["se"], best.get("tuning_se", 0.0), best["pairs"])  # fmt: skip


def with_helps(
    stage: TunedStage, baseline: Recipe, tuned: Mapping[str, Tuned], rows: Sequence[Mapping[str, Any]], most: int | None = None,
) -> Recipe:  # fmt: skip
    """The baseline with the tricks that help it and without those that hurt, by these rows of the ranking on the baseline. `most`: changes, at most.

    The largest effect goes first; what it excludes is left out. One change keeps the learning rate that its arm was tuned to.
    """
    catalogue, recipe = stage.catalogue, baseline
    changes: list[str] = []
    for row in _helping(baseline, rows):
        name = row["trick"]
        if len(changes) == most:
            break
        if name in baseline:
            recipe, changes = recipe.without(name), [*changes, name]
        else:
            taken = [other for other in recipe if conflict(catalogue[name], catalogue[other])]
            if set(taken) <= set(baseline) and not set(taken) & set(changes):
                settings = tuned[f"add-one: {name}"].recipe[name]
                recipe = recipe.without(*taken).with_trick(catalogue, name, settings)
                if catalogue[name].slot != OPTIMIZER:
                    recipe = with_rate(recipe, catalogue, rate_of(baseline, catalogue))
                changes.append(name)
    return tuned[f"add-one: {changes[0]}"].recipe if len(changes) == 1 else recipe
