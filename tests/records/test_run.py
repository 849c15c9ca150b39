"""Runs: repetitions are removed by identity."""

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
