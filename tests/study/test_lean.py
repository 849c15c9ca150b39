"""The lean recipe: what is taken out, what comes in its place, and at which rate."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ablate.catalogue.registry import registry
from ablate.records.recipe import Recipe
from ablate.study.ranking.additions import with_helpful
from ablate.study.ranking.arms import Arm, rate_of, with_rate
from ablate.study.ranking.ballast import ballast, dispensable, without
from ablate.study.ranking.ladder import recommended_rung
from ablate.study.ranking.recipes import without_tricks
from ablate.study.ranking.tuned import Tuned

CATALOGUE = registry()
BASELINE = Recipe.of(CATALOGUE, {"momentum": {"lr": 0.1}, "cosine": {}})
FOUND = Recipe.of(
    CATALOGUE, {"lion": {"lr": 0.01}, "one_cycle": {}, "swa": {}, "adaptive_clip": {}, "label_smoothing": {}}
)


def stage_of(score: Callable[[Recipe], float] = lambda recipe: 0.0) -> Any:
    """A stage whose runs have made scores, with a level for each seed."""
    return SimpleNamespace(
        catalogue=CATALOGUE,
        baseline=BASELINE,
        is_final=lambda *recipes: False,
        train=lambda rows, stage, title: [score(recipe) + 0.1 * (seed % 7) for _, recipe, seed in rows],
        score=lambda entry, final: entry,
    )


def tuned_at(**rates: float) -> dict[str, Tuned]:
    """Toggle arms, all at the rate of the recipe found but those in `rates`."""
    arms = {"toggle: recipe": Tuned(Arm("toggle", "", (FOUND,)), FOUND, ())}
    for name in (*FOUND, "cosine"):
        recipe = with_rate(FOUND.without(name), CATALOGUE, rates.get(name, 0.01))
        arms[f"toggle: {name}"] = Tuned(Arm("toggle", name, (recipe,), -1), recipe, ())
    return arms


MANY = 100
"""More recipes than any of these cases has."""


def taken_out(stage: Any, recipe_found: Recipe, tuned: dict[str, Tuned], fact: dict[str, Any]) -> list[str]:
    """What is dispensable of the ballast of a recipe."""
    candidates = ballast(CATALOGUE, recipe_found, BASELINE, fact)
    return dispensable(stage, [recipe_found], candidates, tuned, fact, range(20), MANY).removed


def fact_of(effects: dict[str, float], verdict: str = "no measurable effect") -> dict[str, Any]:
    rows = [
        {"trick": name, "estimand": "toggle", "in_recipe": True, "verdict": verdict, "effect": effect}
        for name, effect in effects.items()
    ]
    return {"rows": rows, "margin": 0.01}


def test_the_baseline_s_choice_of_a_slot_comes_back_at_its_own_rate() -> None:
    recipe = without(stage_of(), FOUND, ["swa", "one_cycle"], tuned_at(cosine=0.02, one_cycle=0.001))
    assert set(recipe) == {"lion", "cosine", "adaptive_clip", "label_smoothing"}
    assert rate_of(recipe, CATALOGUE) == 0.02


def swap_row(name: str, effect: float, verdict: str = "no measurable effect") -> dict[str, Any]:
    """The row of the baseline's choice of a slot, which takes the place of the recipe's."""
    return {"trick": name, "estimand": "toggle", "in_recipe": False, "verdict": verdict, "effect": effect}


def in_place(name: str, settings: dict[str, Any], replaced: str) -> dict[str, Tuned]:
    """The toggle arm of a trick that replaces another one of the recipe found."""
    recipe = FOUND.without(replaced).with_trick(CATALOGUE, name, settings)
    return {f"toggle: {name}": Tuned(Arm("toggle", name, (recipe,)), recipe, ())}


def test_an_optimizer_that_does_no_better_than_the_baseline_s_is_ballast() -> None:
    """The rate is that of momentum's arm, twice as high where swa's says so."""
    tuned = tuned_at(swa=0.02) | in_place("momentum", {"lr": 0.3}, "lion")
    fact = fact_of({"swa": 0.0})
    fact["rows"].append(swap_row("momentum", -0.002))
    removed = taken_out(stage_of(), FOUND, tuned, fact)
    assert removed == ["swa", "lion"]
    recipe = without(stage_of(), FOUND, removed, tuned)
    assert set(recipe) == {"momentum", "one_cycle", "adaptive_clip", "label_smoothing"}
    assert rate_of(recipe, CATALOGUE) == pytest.approx(0.7)  # of the lattice, next to 0.6


@pytest.mark.parametrize("verdict", ["undecided", "hurts a little", "helps"])
def test_an_optimizer_without_a_verdict_of_no_effect_is_no_ballast(verdict: str) -> None:
    fact = {"rows": [swap_row("momentum", -0.002, verdict)], "margin": 0.01}
    assert taken_out(stage_of(), FOUND, tuned_at(), fact) == []


def test_a_schedule_that_helps_but_no_more_than_the_baseline_s_goes_back_to_it() -> None:
    fact = fact_of({"one_cycle": 0.03}, "helps")
    fact["rows"].append(swap_row("cosine", 0.001))
    tuned = tuned_at()
    removed = taken_out(stage_of(), FOUND, tuned, fact)
    assert removed == ["one_cycle"]
    assert "cosine" in without(stage_of(), FOUND, removed, tuned)


def test_an_optimizer_that_comes_back_excludes_what_it_excluded_in_its_arm() -> None:
    found = Recipe.of(CATALOGUE, {"momentum": {"lr": 0.1}, "weight_decay": {}, "mixup": {}})
    baseline = Recipe.of(CATALOGUE, {"adamw": {"lr": 0.01}})
    assert set(without_tricks(found, ["momentum"], baseline, CATALOGUE)) == {"adamw", "mixup"}


def test_a_rate_of_one_optimizer_is_not_tried_with_another() -> None:
    """The lean recipe trains with momentum at 0.3; the arms of what helps trained with lion at 0.01 and 0.02."""
    fact, arms = helpful(mixup=0.02)
    lean = FOUND.without("lion").with_trick(CATALOGUE, "momentum", {"lr": 0.3})
    with_helpful(stage_of(), lean, arms, fact, range(20), MANY)
    assert [step["rate"] for step in fact["lean_added"]] == pytest.approx([0.7, 0.3])


def test_what_baseline_and_recipe_share_is_taken_out_of_both() -> None:
    recommended = FOUND.without("one_cycle").with_trick(CATALOGUE, "cosine")
    recipe = without(stage_of(), recommended, ["cosine"], tuned_at())
    assert "cosine" not in recipe
    assert recipe.slot(CATALOGUE, CATALOGUE["cosine"].slot) is None


def test_own_rates_of_what_is_taken_out_are_combined() -> None:
    recipe = without(stage_of(), FOUND, ["swa", "label_smoothing"], tuned_at(swa=0.02, label_smoothing=0.05))
    assert rate_of(recipe, CATALOGUE) == pytest.approx(0.1)
    assert without(stage_of(), FOUND, ["swa"], tuned_at()) == FOUND.without("swa")


def test_what_the_recipe_needs_stays_and_what_comes_after_it_is_still_tried() -> None:
    """Without swa, one_cycle and adaptive_clip as good; label smoothing is needed once swa is gone."""

    def score(recipe: Recipe) -> float:
        return 0.9 if "swa" in recipe or "label_smoothing" in recipe else 0.8

    fact = fact_of({"swa": 0.0, "label_smoothing": 0.001, "one_cycle": 0.002, "adaptive_clip": 0.003})
    candidates = ballast(CATALOGUE, FOUND, BASELINE, fact)
    removal = dispensable(stage_of(score), [FOUND], candidates, tuned_at(), fact, range(20), MANY)
    assert removal.removed == ["swa", "one_cycle", "adaptive_clip"]
    assert list(removal.kept) == ["label_smoothing"]
    bad = [step for step in removal.tried if step["low"] < -0.05]
    assert all("label_smoothing" in step["without"] for step in bad)
    assert bad


def test_a_trick_that_the_baseline_has_is_ballast_only_where_it_hurts() -> None:
    shared = FOUND.without("one_cycle").with_trick(CATALOGUE, "cosine")
    for verdict, removed in (("no measurable effect", []), ("hurts a little", ["cosine"])):
        assert taken_out(stage_of(), shared, tuned_at(), fact_of({"cosine": -0.001}, verdict)) == removed


def test_a_recipe_without_ballast_is_lean() -> None:
    fact = fact_of({"swa": 0.03}, "helps")
    assert taken_out(stage_of(), FOUND, tuned_at(), fact) == []


def helpful(**effects: float) -> tuple[dict[str, Any], dict[str, Tuned]]:
    """Rows of tricks that help in the recipe found, and their arms; all at its rate but mixup's, which is twice that."""
    rows = [
        {
            "trick": name,
            "estimand": "toggle",
            "in_recipe": False,
            "verdict": "helps a little",
            "effect": effect,
        }
        for name, effect in effects.items()
    ]
    arms = {"toggle: recipe": Tuned(Arm("toggle", "", (FOUND,)), FOUND, ())}
    for name in effects:
        recipe = with_rate(FOUND.with_trick(CATALOGUE, name), CATALOGUE, 0.02 if name == "mixup" else 0.01)
        arms[f"toggle: {name}"] = Tuned(Arm("toggle", name, (recipe,)), recipe, ())
    return {"rows": rows, "margin": 0.01}, arms


def test_what_helps_is_added_as_far_as_it_is_better() -> None:
    """Batch norm gives what layer norm gives, in whose slot it is; input noise gives what mixup gives."""

    def score(recipe: Recipe) -> float:
        return (
            0.02 * bool({"mixup", "input_noise"} & set(recipe))
            + 0.01 * ("batch_norm" in recipe)
            - 0.005 * ("dropout" in recipe)
        )

    fact, arms = helpful(mixup=0.02, input_noise=0.015, batch_norm=0.012, layer_norm=0.011, dropout=0.01)
    added, recipe = with_helpful(stage_of(score), FOUND, arms, fact, range(20), MANY)
    assert added == ["mixup", "input_noise", "batch_norm"]
    assert set(recipe) == {*FOUND, *added}
    assert rate_of(recipe, CATALOGUE) == 0.02
    steps = ["mixup", "input_noise", "batch_norm", "dropout"]
    assert list(dict.fromkeys(step["with"][-1] for step in fact["lean_added"])) == steps


def test_what_helps_in_place_of_another_comes_in_its_place() -> None:
    """One cycle and cosine are of one slot; the arm of cosine is the recipe found with it in place of one cycle."""
    fact, arms = helpful(cosine=0.02)
    recipe = FOUND.without("one_cycle").with_trick(CATALOGUE, "cosine")
    arms["toggle: cosine"] = Tuned(Arm("toggle", "cosine", (recipe,)), recipe, ())
    added, chosen = with_helpful(
        stage_of(lambda one: 0.02 * ("cosine" in one)), FOUND, arms, fact, range(20), MANY
    )
    assert added == ["cosine"]
    assert set(chosen) == {*FOUND, "cosine"} - {"one_cycle"}


@pytest.mark.parametrize(
    ("levels", "allowed", "rung"),
    [
        ((0.0, 1.0, 2.0), (True, True, True), 2),  # the lean recipe
        ((0.0, 2.0, 1.0), (True, True, True), 1),  # a rung that is better than the lean recipe
        ((0.0, 2.0, 1.99), (True, True, True), 2),  # not worse: the whole way
        ((0.0, 2.0, -1.0), (True, True, True), 1),  # the lean recipe is worse than the baseline
        ((0.0, 0.01, 0.0), (True, True, True), 0),  # nothing is better
        ((0.0, 2.0, 1.0), (True, False, True), 2),  # the better one has a trick that hurts
        ((0.0, -1.0), (True, True), 0),
    ],
)
def test_the_rung_that_is_recommended(levels, allowed, rung) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (len(levels), 20))
    assert recommended_rung(np.array(levels)[:, None] + noise, allowed) == rung


def test_two_tricks_that_both_ask_for_a_higher_rate_are_added_at_a_rate_that_one_asks_for() -> None:
    """At twice the rate both help; at four times the rate, which both say together, nothing does."""

    def score(recipe: Recipe) -> float:
        rate = rate_of(recipe, CATALOGUE)
        assert rate is not None
        helped = 0.01 * sum(name in recipe for name in ("mixup", "batch_norm"))
        return helped if rate < 0.03 else -0.05

    fact, arms = helpful(mixup=0.02, batch_norm=0.012)
    twice = with_rate(arms["toggle: batch_norm"].recipe, CATALOGUE, 0.02)
    arms["toggle: batch_norm"] = Tuned(Arm("toggle", "batch_norm", (twice,)), twice, ())
    added, recipe = with_helpful(stage_of(score), FOUND, arms, fact, range(20), MANY)
    assert added == ["mixup", "batch_norm"]
    assert rate_of(recipe, CATALOGUE) == 0.02


def test_nothing_is_added_that_is_no_better_together() -> None:
    fact, arms = helpful(mixup=0.02, dropout=0.01)
    assert with_helpful(stage_of(), FOUND, arms, fact, range(20), MANY) == ([], FOUND)
    fact["rows"] = [{**row, "verdict": "no measurable effect"} for row in fact["rows"]]
    assert with_helpful(stage_of(lambda recipe: len(recipe)), FOUND, arms, fact, range(20), MANY) == (
        [],
        FOUND,
    )
