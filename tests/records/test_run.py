"""Runs: repetitions are removed by identity."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.records.recipe import Recipe
from ablate.records.run import Run, distinct_runs

RUNS = [Run("digits", Recipe({}), seed, 3) for seed in range(8)]


@settings(deadline=None)  # no wall-time limit on a loaded machine
@given(st.lists(st.sampled_from(RUNS)))
def test_distinct_runs_keep_the_order_of_first_occurrence(planned):
    expected: list[Run] = []
    for run in planned:
        if run not in expected:
            expected.append(Run(run.task, run.recipe, run.seed, run.epochs))
    assert distinct_runs(iter(planned)) == expected


SETTINGS = st.dictionaries(
    st.text(), st.one_of(st.floats(allow_nan=False), st.integers(), st.booleans(), st.text())
)


@given(st.dictionaries(st.text(), SETTINGS))
def test_a_recipe_read_from_its_canonical_text_is_the_recipe(tricks):
    recipe = Recipe(tricks)
    read = Recipe.from_canonical(recipe.canonical(), recipe.to_dict())
    assert (read, read.hash, read.to_dict(), read.canonical()) == (
        recipe, recipe.hash, recipe.to_dict(), recipe.canonical()
    )  # fmt: skip
    assert Run("digits", read, 1, 2).identity == Run("digits", recipe, 1, 2).identity


@pytest.mark.parametrize("text", ['{"b":{},"a":{}}', '{"a":{"y":1,"x":2}}'], ids=["tricks", "settings"])
def test_a_text_that_is_not_sorted_is_not_taken_for_canonical(text):
    read = Recipe.from_canonical(text, json.loads(text))
    assert read.canonical() == Recipe(json.loads(text)).canonical() != text
