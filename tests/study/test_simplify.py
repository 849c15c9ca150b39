"""The recipe found keeps the tricks that it needs, and no others."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ablate.catalogue.registry import registry
from ablate.records.recipe import Recipe
from ablate.records.study import StudyFile
from ablate.study.simplify import last_harmless, removable, simplify

BASELINE = Recipe.of(registry(), {"adamw": {"lr": 0.01}, "cosine": {}})
FOUND = Recipe.of(
    registry(),
    {
        "lion": {"lr": 0.001},
        "cosine": {},
        "batch_norm": {},
        "mixup": {},
        "label_smoothing": {},
        "clip_value": {},
        "ema": {},
    },
)
Worth = dict[frozenset[str], float]


def session_of(worth: Worth, noise: float, failing: str = "") -> SimpleNamespace:
    """A session whose runs score the sum of `worth` of the sets of tricks that are all in the recipe, plus a seed's level and noise."""
    asked: list[tuple[str, int]] = []

    def run(recipe: Recipe, seed: int) -> SimpleNamespace:
        return SimpleNamespace(recipe=recipe, seed=seed)

    def score(run: SimpleNamespace) -> float:
        if failing and failing not in run.recipe:
            return float("nan")
        level = np.random.default_rng(run.seed).normal(0, 5.0)
        key = int(run.recipe.hash[:12], 16)
        error = np.random.default_rng([run.seed, key]).normal(0, noise)
        return sum(value for names, value in worth.items() if names <= set(run.recipe)) + level + error

    def train(rows: list) -> list:
        asked.extend((row.arm, row.run.seed) for row in rows)
        return [row.run for row in rows]

    return SimpleNamespace(
        context=SimpleNamespace(catalogue=registry()), study=StudyFile(seed=3), run=run, score=score, train=train, asked=asked,
        missing=lambda rows: rows, epochs=1, progress=SimpleNamespace(stage=lambda *_: None),
    )  # fmt: skip


def test_only_what_the_search_added_can_be_removed_and_the_optimizer_stays():
    assert removable(FOUND, BASELINE, registry()) == [
        "batch_norm", "clip_value", "ema", "label_smoothing", "mixup",
    ]  # fmt: skip
    assert simplify(session_of({}, 1.0), BASELINE, BASELINE).recipe == BASELINE


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_tricks_that_give_something_stay_and_all_others_go(noise: float):
    session = session_of({frozenset({"batch_norm"}): 1.0, frozenset({"mixup"}): 0.5}, noise)
    simple = simplify(session, FOUND, BASELINE)
    assert {"batch_norm", "mixup"} <= set(simple.recipe)
    assert {"lion", "cosine"} <= set(simple.recipe)
    assert set(simple.removed) <= {"clip_value", "ema", "label_smoothing"}
    if noise == 0.0:
        assert len(simple.removed) == 3
    seeds = {seed for arm, seed in session.asked if arm == "whole"}
    assert len(seeds) == 11  # the order and the judgement do not share a seed


def test_of_two_tricks_that_replace_each_other_one_stays():
    """Taken out alone, neither is missed."""
    either = {
        frozenset({"mixup"}): 1.0,
        frozenset({"label_smoothing"}): 1.0,
        frozenset({"mixup", "label_smoothing"}): -1.0,
    }
    simple = simplify(session_of(either, 0.0), FOUND, BASELINE)
    assert len({"mixup", "label_smoothing"} & set(simple.recipe)) == 1
    assert not {"batch_norm", "clip_value", "ema"} & set(simple.recipe)


def test_a_trick_without_which_runs_fail_stays():
    simple = simplify(session_of({}, 0.0, failing="batch_norm"), FOUND, BASELINE)
    assert "batch_norm" in simple.recipe
    assert len(simple.removed) == 4


def test_a_slot_that_is_left_empty_gets_the_choice_of_the_baseline():
    baseline = Recipe.of(registry(), {"adamw": {"lr": 0.01}, "layer_norm": {}})
    simple = simplify(session_of({}, 0.0), FOUND, baseline)
    assert "layer_norm" in simple.recipe
    assert "batch_norm" not in simple.recipe


def test_one_standard_error_of_a_typical_recipe():
    rng = np.random.default_rng(0)
    alike = rng.normal(0, 0.1, (4, 8))
    assert last_harmless(alike) >= 3
    assert last_harmless(alike - [[0.0], [0.0], [1.0], [1.0]]) <= 2
    assert last_harmless(np.array([[-1.0] * 4])) == 0
    assert last_harmless(np.array([[0.0] * 4, [np.nan, 1.0, 1.0, 1.0]])) == 1
    assert last_harmless(np.full((2, 4), np.nan)) == 0
    loose = np.vstack(
        [alike, 10 * alike[:1] - 10 * alike[:1].mean() - 0.5]
    )  # scatters ten times as much, and loses more than they do
    assert last_harmless(loose) < 5
