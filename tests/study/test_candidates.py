"""The candidates of a ranking: tricks that a fifth of the best quarter of the search's trials had."""

from __future__ import annotations

import pytest

from ablate.ledger.entry import Entry
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.study.ranking.candidates import best_seen

TRIALS = 40
"""A quarter of them, 10, are the best; a fifth of those is 2."""


def trial(number: int, *tricks: str, outcome: Outcome = Outcome.COMPLETE) -> Entry:
    """A trial with a score that falls with its number."""
    recipe = Recipe({"momentum": {"lr": 0.1}, **{name: {"at": number} for name in tricks}})
    return Entry(
        Run("task", recipe, number, 1), Result(outcome, {"score": -float(number)}), "search", trial=number
    )


def seen_in(trials: list[Entry]):
    return best_seen(trials, lambda entry: entry.result.metrics["score"])


@pytest.mark.parametrize(
    ("places", "is_candidate"),
    [
        ((0,), False),
        ((3, 9), True),
        ((9, 10, 11, 12), False),
        ((), False),
        (range(10, TRIALS), False),
    ],
)
def test_a_candidate_occurs_in_a_fifth_of_the_best_quarter(places, is_candidate):
    trials = [trial(i, *(["dropout"] if i in places else [])) for i in range(TRIALS)]
    seen = seen_in(trials[::-1])
    assert seen["momentum"] == (0, {"lr": 0.1})
    assert ("dropout" in seen) == is_candidate
    if is_candidate:
        assert seen["dropout"] == (min(places), {"at": min(places)})


def test_of_twenty_trials_one_in_the_best_five_is_enough():
    seen = seen_in(
        [trial(i, *(["dropout"] if i == 4 else []), *(["ema"] if i == 5 else [])) for i in range(20)]
    )
    assert seen.keys() == {"momentum", "dropout"}


def test_too_few_complete_trials_say_nothing():
    assert seen_in([trial(i) for i in range(19)]) == {}
    unfinished = [trial(i, "dropout", outcome=Outcome.PRUNED) for i in range(5)]
    assert seen_in(unfinished + [trial(i) for i in range(5, 24)]) == {}
    assert seen_in(unfinished + [trial(i) for i in range(5, 25)]).keys() == {"momentum"}
