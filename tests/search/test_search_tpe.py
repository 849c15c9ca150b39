"""One fit for many draws: the same values as Optuna's own TPE, one after another."""

import numpy as np
import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.trial import TrialState, create_trial
from search_fakes import space

from ablate.records.run import Outcome
from ablate.search.generations import Suggester
from ablate.search.observations import TrialConverter, TrialResult
from ablate.search.tpe import FittedTPE

SPACE = space()


def finished(count, seed=0):
    """Trials with numbers, choices, some pruned, some lost."""
    ask = Suggester(SPACE, seed=seed, higher_is_better=True, sampler="random", generation=count, lanes=1)
    noise = np.random.default_rng(seed)
    results = {}
    for s in ask.generation(0, {}):
        outcome = Outcome(noise.choice(["complete", "complete", "pruned", "diverged"]))
        value = (
            float(noise.normal() + 3 * ("dropout" in s.recipe)) if outcome is not Outcome.DIVERGED else None
        )
        results[s.number] = TrialResult(value, outcome, s.params, {1: value or 0.0})
    return results


@pytest.mark.parametrize("group", ["switches", "momentum", "batch_norm", "group_norm", "cutout"])
@pytest.mark.parametrize("count", [3, 40])
def test_a_draw_is_what_optuna_samples(group, count):
    """One draw from a fresh fit = one `sample_relative` of Optuna's sampler under the same seed."""
    converter = TrialConverter(SPACE, higher_is_better=True)
    trials = list(converter.trials(finished(count)))
    dimensions = SPACE.switches if group == "switches" else SPACE.settings[group]
    wanted = {one.name: converter.distributions[one.name] for one in dimensions}
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    for seed in range(4):
        fitted = FittedTPE(
            optuna.create_study(direction="maximize"), trials, converter.internal, seed, candidates=24
        )
        optunas = TPESampler(seed=seed, n_startup_trials=1, constant_liar=False)
        here = create_trial(state=TrialState.RUNNING)
        assert fitted.draw(wanted, 1) == [optunas.sample_relative(study, here, wanted)]


def test_many_draws_have_the_distribution_of_one():
    converter = TrialConverter(SPACE, higher_is_better=True)
    trials = list(converter.trials(finished(60)))
    wanted = {name: converter.distributions[name] for name in ("dropout", "optimizer")}
    study = optuna.create_study(direction="maximize")
    together = FittedTPE(study, trials, converter.internal, 0).draw(wanted, 400)
    apart = [FittedTPE(study, trials, converter.internal, seed).draw(wanted, 1)[0] for seed in range(1, 201)]
    shares = [np.mean([one["dropout"] for one in draws]) for draws in (together, apart)]
    assert shares[0] == pytest.approx(shares[1], abs=0.1)
    assert shares[0] > 0.6, "dropout was made to help"


def test_without_a_trial_that_counts_the_draw_is_uniform():
    converter = TrialConverter(SPACE, higher_is_better=True)
    wanted = {"momentum.lr": converter.distributions["momentum.lr"]}
    drawn = FittedTPE(optuna.create_study(direction="maximize"), [], {}, 0).draw(wanted, 300)
    logs = np.log10([one["momentum.lr"] for one in drawn])
    low, high = (
        np.log10(converter.distributions["momentum.lr"].low),
        np.log10(converter.distributions["momentum.lr"].high),
    )
    assert logs.min() >= low
    assert logs.max() <= high
    assert np.median(logs) == pytest.approx((low + high) / 2, abs=0.2)


def test_a_trial_is_made_once_and_again_when_what_is_told_of_it_changes():
    converter = TrialConverter(SPACE, higher_is_better=True)
    params = SPACE.to_params(SPACE.baseline)
    results = {0: TrialResult(1.0, Outcome.COMPLETE, params), 1: TrialResult(None, Outcome.DIVERGED, params)}
    first = list(converter.trials(results))
    again = list(converter.trials(results))
    assert [a is b for a, b in zip(first, again, strict=True)] == [True, True]
    worse = {**results, 2: TrialResult(-5.0, Outcome.COMPLETE, params)}
    assert list(converter.trials(worse))[1].value < first[1].value
    other = {**results, 0: TrialResult(9.0, Outcome.COMPLETE, params)}
    assert next(iter(converter.trials(other))).value == 9.0
