"""Importances find what matters in a plain case, and add up over a trick."""

import numpy as np
import pytest
from search_fakes import space

from ablate.records.run import Outcome
from ablate.records.study import SpaceSection, StudyFile
from ablate.search.generations import Suggester
from ablate.search.importance import importances
from ablate.search.observations import TrialResult


def results(ask, generations, value):
    trial_results = {}
    for g in range(generations):
        for s in ask.generation(g, {}):
            trial_results[s.number] = TrialResult(value(s.recipe), Outcome.COMPLETE, s.params)
    return trial_results


def test_what_decides_comes_first():
    ask = Suggester(space(), seed=0, higher_is_better=True, sampler="random")
    noise = np.random.default_rng(0)
    shares = importances(ask, results(ask, 10, lambda r: 5.0 * ("dropout" in r) + noise.normal()))
    assert next(iter(shares)) == "dropout"
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {switch.name for switch in ask.space.switches}
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_parameters_of_what_is_always_on_count_with_it():
    only = space(study=StudyFile(space=SpaceSection(include=("momentum", "dropout"))))
    ask = Suggester(only, seed=0, higher_is_better=False, sampler="random")
    shares = importances(ask, results(ask, 5, lambda r: abs(np.log(r["momentum"]["lr"] / 0.1))))
    assert list(shares) == ["optimizer", "dropout"]
    assert shares["optimizer"] > 0.8


def test_too_few_trials_say_nothing():
    ask = Suggester(space(), seed=0, higher_is_better=True, sampler="random", generation=8, lanes=4)
    assert importances(ask, results(ask, 1, lambda r: 0.0)) == {}
