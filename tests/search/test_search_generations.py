"""Suggestions are a pure function of (seed, results); groups share structure; the search learns."""

import math

import numpy as np
import pytest
from optuna.trial import TrialState
from search_fakes import BASELINE, CATALOGUE, space

from ablate.lanes.group import structure
from ablate.records.errors import InputError
from ablate.records.run import Outcome, Run
from ablate.records.study import SpaceSection, StudyFile
from ablate.search.generations import Suggester
from ablate.search.observations import TrialResult

SPACE = space()


def suggester(sampler="tpe", seed=3, **more):
    return Suggester(
        SPACE, seed=seed, higher_is_better=True, sampler=sampler, **{"generation": 8, "lanes": 4, **more}
    )


def score(recipe):
    """Dropout helps, sam hurts, the learning rate has an optimum: what a search can find."""
    lr = next(settings["lr"] for name, settings in recipe.items() if "lr" in settings)
    return 2.0 * ("dropout" in recipe) - 1.0 * ("sam" in recipe) - math.log10(lr / 0.05) ** 2


def trained(suggestions, value=score):
    return {s.number: TrialResult(value(s.recipe), Outcome.COMPLETE, s.params) for s in suggestions}


def searched(ask, generations, value=score):
    results = {}
    for g in range(generations):
        results |= trained(ask.generation(g, results), value)
    return results


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_the_baseline_comes_first_and_every_recipe_is_whole(sampler):
    ask = suggester(sampler)
    results = {}
    for g in range(3):
        suggestions = ask.generation(g, results)
        assert [s.number for s in suggestions] == list(range(8 * g, 8 * g + 8))
        for s in suggestions:
            assert s.recipe == SPACE.from_params(s.params)
            assert s.recipe.slot(CATALOGUE, "optimizer")
            assert s.seed == 3 + s.number
        results |= trained(suggestions)
    assert ask.generation(0, {})[0].recipe == BASELINE


def test_only_seed_and_results_matter():
    results = searched(suggester(), 3)
    first = suggester().generation(3, results)
    late = {n: r for n, r in results.items() if n < 16}
    assert suggester().generation(3, late) == first, "generation 2 must not be looked at"
    assert suggester().generation(3, dict(reversed(results.items()))) == first
    used = suggester()
    used.generation(2, results)
    assert used.generation(3, results) == first, "what was asked before must not matter"
    assert suggester(seed=4).generation(3, results) != first
    changed = {**results, 1: TrialResult(99.0, Outcome.COMPLETE, results[1].params)}
    assert suggester().generation(3, changed) != first, "generation 0 must be learnt from"


def test_gaussian_process():
    small = space(study=StudyFile(space=SpaceSection(include=("dropout", "placebo"))))
    ask = Suggester(small, seed=1, higher_is_better=True, sampler="gp", generation=2, lanes=1)
    results = searched(ask, 2, value=lambda recipe: float("dropout" in recipe))
    first = ask.generation(2, results)
    assert [s.number for s in first] == [4, 5]
    assert ask.generation(2, results) == first


def test_generations_are_told_apart():
    for sampler in ("random", "qmc"):
        ask = suggester(sampler)
        assert len({s.recipe for g in range(4) for s in ask.generation(g, {})}) > 24


def test_a_missing_result_is_refused():
    results = searched(suggester(), 2)
    del results[5]
    with pytest.raises(ValueError, match="trial 5"):
        suggester().generation(2, results)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_groups_share_their_structure(sampler):
    ask, results = suggester(sampler), {}
    seen = set()
    for g in range(5):
        suggestions = ask.generation(g, results)
        for start in (0, 4):
            runs = [Run("t", s.recipe, s.seed, 1) for s in suggestions[start : start + 4]]
            shared = {structure(run, CATALOGUE) for run in runs}
            assert len(shared) == 1
            assert len({run.recipe for run in runs}) > 1
            seen |= shared
        results |= trained(suggestions)
    assert len(seen) > 2


def test_the_search_learns():
    late = []
    for seed in range(2):
        results = searched(suggester(seed=seed), 8)
        late += [results[n].params for n in range(32, 64)]
    assert np.mean([params["dropout"] for params in late]) > 0.7
    assert np.mean([params["sam"] for params in late]) < 0.3


def test_diverged_trials_are_learnt_from():
    """Every other value is the same, so that there is nothing else to learn; told as FAIL, cutout would stay."""
    shares = []
    for seed in range(3):
        ask, results = suggester(seed=seed), {}
        for g in range(7):
            for s in ask.generation(g, results):
                outcome = Outcome.DIVERGED if "cutout" in s.recipe else Outcome.COMPLETE
                results[s.number] = TrialResult(
                    1.0 if outcome is Outcome.COMPLETE else None, outcome, s.params
                )
        shares.append(
            [np.mean([results[n].params["cutout"] for n in ns]) for ns in (range(16), range(24, 56))]
        )
    early, late = np.mean(shares, axis=0)
    assert early > 0.3
    assert late < 0.6 * early


def test_how_outcomes_are_told():
    ask = suggester()
    params = SPACE.to_params(BASELINE)
    history = ask.study(
        {
            0: TrialResult(0.9, Outcome.COMPLETE, params),
            1: TrialResult(None, Outcome.DIVERGED, params),
            2: TrialResult(0.4, Outcome.PRUNED, params, {1: 0.3, 2: 0.4, 3: math.nan}),
            3: TrialResult(None, Outcome.OUT_OF_MEMORY, params),
            4: TrialResult(None, Outcome.FAILED, params),
            5: TrialResult(math.inf, Outcome.COMPLETE, params),
            6: TrialResult(0.7, Outcome.COMPLETE, params),
        }
    ).trials
    assert [t.state.name for t in history] == [
        "COMPLETE",
        "COMPLETE",
        "PRUNED",
        "COMPLETE",
        "FAIL",
        "COMPLETE",
        "COMPLETE",
    ]
    assert [history[i].value for i in (0, 1, 3, 5, 6)] == pytest.approx([0.9, 0.68, 0.68, 0.68, 0.7])
    assert history[2].intermediate_values == {1: 0.3, 2: 0.4}
    lost = ask.study({0: TrialResult(None, Outcome.DIVERGED, params)}).trials
    assert lost[0].state is TrialState.FAIL


class Read(dict):
    """Results that count how often one is read."""

    reads = 0

    def __getitem__(self, number):
        self.reads += 1
        return super().__getitem__(number)


def test_a_result_is_read_once_however_many_generations_follow():
    """A resumed search asks for every generation: reading all results each time takes time with the square of the trials."""
    results = Read(searched(suggester(), 6))
    ask = suggester()
    suggested = [ask.generation(g, results) for g in range(7)]
    assert results.reads == 6 * 8 - 8, "all but those of the generation that is still training"
    assert suggested[6] == suggester().generation(6, results)


def test_the_worst_value_follows_the_direction():
    ask = Suggester(SPACE, seed=0, higher_is_better=False)
    params = SPACE.to_params(BASELINE)
    results = {i: TrialResult(v, Outcome.COMPLETE, params) for i, v in enumerate((0.1, 0.5))}
    results[2] = TrialResult(None, Outcome.DIVERGED, params)
    assert ask.study(results).trials[2].value == pytest.approx(0.54)


def test_a_search_where_everything_diverges_goes_on():
    ask, results = suggester(), {}
    for g in range(4):
        results |= {
            s.number: TrialResult(None, Outcome.DIVERGED, s.params) for s in ask.generation(g, results)
        }
    assert len(results) == 32


def test_results_of_another_space_are_refused():
    other = {**SPACE.to_params(BASELINE), "momentum.lr": 9.0}
    with pytest.raises(InputError, match=r"trial 0 has momentum\.lr = 9\.0"):
        suggester().study({0: TrialResult(1.0, Outcome.COMPLETE, other)})


def test_unknown_sampler():
    with pytest.raises(InputError, match="did you mean 'random'"):
        suggester("randon")
