"""The lean recipe, which is recommended if the ladder to it shows a gain.

It is the recipe found without the tricks that hurt in it, without those that the baseline lacks and that have no measurable effect, as far as it is not
worse without them together (two tricks may each be dispensable only because the other is there), and with those that help in it, as far as it is
better with them. A trick in whose place the baseline's choice of the slot (its optimizer, its schedule) does as well has no effect either. After a
ranking on the baseline alone, it is the baseline with all tricks that help it; so it is where no rung to the recipe found is better than the baseline
(`helped_baseline.py`). Where a rung of the ladder is better than the lean recipe, that rung is recommended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.ranking.estimands import reference_of
from ablate.records.designs import ADD_ONE, TOGGLE
from ablate.records.recipe import Recipe, conflict
from ablate.records.words import joined
from ablate.study.ranking.additions import RATES, helpful, with_helpful
from ablate.study.ranking.ballast import Removal, ballast, dispensable, hurting, without, without_effect
from ablate.study.ranking.budget import LEAN_PAIRS, RankBudget
from ablate.study.ranking.helped_baseline import climb, instead, pairs_for, with_helps
from ablate.study.ranking.ladder import rungs_of
from ablate.study.ranking.tuned import TUNE, Tuned, TunedStage
from ablate.study.ranking.tuning_points import reference_tuning

LEAN = 0x1EA7
"""The stream of the lean stage's seeds."""


def lean_and_ladder(
    stage: TunedStage, budget: RankBudget, tuned: Mapping[str, Tuned], fact: dict[str, Any]
) -> None:
    """Put `lean`, `ladder`, `helped` and `recommended` into the fact."""
    baseline = tuned[reference_of(ADD_ONE)].recipe
    if TOGGLE not in stage.estimands:
        recipe_found = with_helps(stage, baseline, tuned, fact["rows"])
        if recipe_found == baseline:
            fact["lean"], fact["ladder"] = {"recipe": baseline.to_dict(), "removed": [], "added": []}, None
            fact["recommended"] = {"recipe": baseline.to_dict(), "is_baseline": True}
            stage.session.ledger.put("rank", fact)
            return
    else:
        recipe_found = tuned[reference_of(TOGGLE)].recipe
    limits = _limits(stage, budget, baseline, recipe_found, fact)
    seeds = stage.first_seeds(limits.pairs, LEAN)
    lean, removal, added = _lean(stage, recipe_found, tuned, fact, seeds, limits)
    rungs = rungs_of(stage, baseline, lean, fact["rows"])
    tuned_last = lean == recipe_found and (TOGGLE in stage.estimands or len(rungs) == 1)
    bad = hurting(fact)
    climbed = climb(stage, budget, baseline, rungs, recipe_found if tuned_last else None, limits.pairs, fact)
    fact["lean"] = _changes(stage, recipe_found, climbed.top, removal, added, fact)
    fact["helped"] = None
    if not climbed.steps and TOGGLE in stage.estimands:
        climbed = instead(stage, budget, tuned, climbed, limits.pairs, fact)
    fact["ladder"] = climbed.ladder
    fact["recommended"] = {
        "recipe": climbed.recipes[climbed.steps].to_dict(),
        "is_baseline": not climbed.steps,
        "gain": climbed.gain,
        "steps": climbed.steps,
    }
    assert not climbed.steps or not bad & set(fact["recommended"]["recipe"])
    fact["spent"]["ladder"] = _spent_since_the_race(stage, fact)
    stage.session.ledger.put("rank", fact)


def _spent_since_the_race(stage: TunedStage, fact: Mapping[str, Any]) -> int:
    """Runs of the lean stage and of the ladder, those that tuned its rungs included."""
    return stage.session.ledger.count(TUNE, "lean", "ladder") - int(fact["spent"]["tuning"])


@dataclass(frozen=True)
class _Limits:
    """`pairs`: seeds of every recipe of the lean stage and of the ladder; `additions`, `recipes`: of the lean stage with a further trick, and in all, at most."""

    pairs: int
    additions: int
    recipes: int


def _limits(
    stage: TunedStage, budget: RankBudget, baseline: Recipe, recipe_found: Recipe, fact: Mapping[str, Any]
) -> _Limits:
    """What the budget leaves, the tuning of the rungs set aside; at least the fewest seeds, the first round of removals and the additions.

    Another round of removals is counted, as the first one often meets a trick that has to stay; further ones get what is left.
    """
    catalogue, left_out = stage.catalogue, hurting(fact)
    added = helpful(stage, recipe_found, fact)
    leaving = [
        name
        for name in baseline
        if name in recipe_found
        and (name in left_out or any(conflict(catalogue[name], catalogue[other]) for other in added))
    ]
    rungs = len(rungs_of(stage, baseline, recipe_found, fact["rows"])) + len(added) + len(leaving)
    tuning = max(rungs - 1, 0) * budget.tuning.runs + reference_tuning(budget.tuning, 0).runs
    spent = fact["spent"]["tuning"] + fact["spent"]["race"]
    left: int = budget.runs - spent - tuning
    removals = len(ballast(catalogue, recipe_found, baseline, fact))
    additions, ladder = RATES * len(added), 1 + rungs
    least = 2 + removals + additions  # the recipe found and the lean one, each as a reference
    usual = least + max(removals - 1, 0)
    fewest = LEAN_PAIRS[0] if TOGGLE in stage.estimands else pairs_for(baseline, fact["rows"])
    pairs = max(fewest, min(budget.lean_pairs, left // (ladder + usual)))
    return _Limits(pairs, additions, max(least, left // pairs - ladder))


def _lean(
    stage: TunedStage,
    recipe_found: Recipe,
    tuned: Mapping[str, Tuned],
    fact: dict[str, Any],
    seeds: Sequence[int],
    limits: _Limits,
) -> tuple[Recipe, Removal, list[str]]:
    """The lean recipe, what was taken out of the recipe found, and what was added.

    Tricks that hurt are taken out in any case. Ballast that had to stay is tried again with the additions, which may make it redundant: without it the
    recipe may be worse by the margin neither than with it, nor than the recipe found.
    """
    candidates = ballast(stage.catalogue, recipe_found, stage.baseline, fact)
    most = limits.recipes - limits.additions - 2
    removal = dispensable(stage, [recipe_found], candidates, tuned, fact, seeds, most)
    bad = hurting(fact)
    removal.removed = list(dict.fromkeys([*removal.removed, *(name for name in candidates if name in bad)]))
    lean = without(stage, recipe_found, removal.removed, tuned) if removal.removed else recipe_found
    added, lean = with_helpful(stage, lean, tuned, fact, seeds, limits.additions)
    removal.kept = {name: step for name, step in removal.kept.items() if name in lean}
    if added and removal.kept:
        most = limits.recipes - 2 - len(removal.tried) - len(fact["lean_added"])
        again = dispensable(stage, [lean, recipe_found], list(removal.kept), tuned, fact, seeds, most)
        lean = without(stage, lean, again.removed, tuned)
        removal.kept = {name: step or removal.kept[name] for name, step in again.kept.items()}
        removal.removed += again.removed
        removal.tried += [{**step, "with": added} for step in again.tried]
    fact["lean_tried"] = removal.tried
    return lean, removal, added


def _changes(
    stage: TunedStage,
    recipe_found: Recipe,
    lean: Recipe,
    removal: Removal,
    added: Sequence[str],
    fact: Mapping[str, Any],
) -> dict[str, Any]:
    """The lean recipe and how it differs from the recipe found. `removed`: what it lacks, of which `replaced` has what stands in its place; `kept`: its tricks
    without an effect, with the reason."""
    catalogue = stage.catalogue
    gone = [name for name in dict.fromkeys([*removal.removed, *recipe_found]) if name not in lean]
    new = [name for name in lean if name not in recipe_found]
    replaced = {name: other for name in gone for other in new if conflict(catalogue[name], catalogue[other])}
    kept = [_stays(stage, name, step) for name, step in removal.kept.items() if name in lean]
    kept += [
        {"trick": name, "why": "the baseline has it"}
        for name in without_effect(fact)
        if name in lean and name in stage.baseline
    ]
    return {
        "recipe": lean.to_dict(), "removed": gone, "added": [*added], "replaced": replaced, "kept": kept,
    }  # fmt: skip


def _stays(stage: TunedStage, name: str, step: Mapping[str, Any] | None) -> dict[str, Any]:
    """Why ballast is still in the recipe. `against`: the baseline's choice of its slot, which would stand in its place."""
    slot = stage.catalogue[name].slot
    other = stage.baseline.slot(stage.catalogue, slot) if slot else None
    why = (
        f"without {joined(step['without'])} the recipe may be worse by more than the margin"
        if step
        else "no run was left to try the recipe without it"
    )
    return {"trick": name, "why": why, **({"against": other} if other else {}), **(step or {})}
