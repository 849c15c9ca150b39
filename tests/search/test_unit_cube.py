"""Points of the cube: uniform where they should be, near the baseline in number of switches, balanced."""

import numpy as np
import pytest
from search_fakes import BASELINE, CATALOGUE, space, trick

from ablate.records.run import Outcome
from ablate.search.observations import MAX_HISTORY, History, TrialResult
from ablate.search.unit_cube import DEPARTURES, params_at, random_points, sobol_points

WIDE = space({**CATALOGUE, **{f"t{i}": trick(f"t{i}") for i in range(22)}})


def test_switches_depart_from_the_baseline_a_few_at_a_time():
    points = random_points(WIDE, [0], 2000)
    drawn = [params_at(WIDE, point, {}) for point in points]
    assert len(WIDE.switches) == 31
    assert np.mean([params["t3"] for params in drawn]) == pytest.approx(DEPARTURES / 31, abs=0.03)
    assert np.mean([params["norm"] != "none" for params in drawn]) == pytest.approx(DEPARTURES / 31, abs=0.03)
    assert np.mean([params["optimizer"] == "adam" for params in drawn]) == pytest.approx(0.5, abs=0.04)


def test_parameters_are_uniform_on_their_scale():
    points = random_points(WIDE, [1], 4000)
    on = {"optimizer": "momentum", "norm": "group_norm", "cutout": True, "batch_size": True}
    drawn = [params_at(WIDE, point, on) for point in points]
    logs = np.log10([params["momentum.lr"] for params in drawn])
    assert np.quantile(logs, [0.25, 0.5, 0.75]) == pytest.approx([-1.5, -1.0, -0.5], abs=0.05)
    generation_size = np.bincount([params["cutout.size"] for params in drawn], minlength=9)
    assert generation_size[0] == 0
    assert generation_size[1:] / len(drawn) == pytest.approx(np.full(8, 1 / 8), abs=0.025)
    groups = [params["group_norm.groups"] for params in drawn]
    assert {min(groups), max(groups)} == {2, 32}
    assert np.median(groups) == pytest.approx(8, abs=1)
    assert {params["batch_size.size"] for params in drawn} == {16, 64, 256}


def test_sobol_points_are_balanced_and_continue():
    whole = sobol_points(WIDE, 5, 0, 64)
    parts = np.concatenate([sobol_points(WIDE, 5, start, 16) for start in range(0, 64, 16)])
    assert np.array_equal(whole, parts)
    assert np.array_equal((whole < 0.5).sum(axis=0), np.full(whole.shape[1], 32))
    assert not np.array_equal(whole, sobol_points(WIDE, 6, 0, 64))


def test_only_the_best_and_the_latest_are_told():
    params = space().to_params(BASELINE)
    past = {n: TrialResult(float(n % 500), Outcome.COMPLETE, params) for n in range(1000)}
    past[999] = TrialResult(None, Outcome.DIVERGED, params)
    kept = selected(past)
    assert len(kept) == MAX_HISTORY
    assert set(range(50)) | set(range(500, 550)) <= set(kept), "the lowest, as lower is better"
    assert set(range(900, 1000)) <= set(kept)
    few = {n: past[n] for n in range(30)}
    assert selected(few) == few


def selected(past, *, higher_is_better=False):
    history = History(higher_is_better=higher_is_better)
    for number, result in past.items():
        history.add(number, result)
    return history.selected()


@pytest.mark.parametrize("higher", [False, True])
def test_trials_are_selected_one_by_one_as_from_all_at_once(higher):
    """With ties, trials without a value, and numbers that are left out."""
    random = np.random.default_rng(0)
    values = random.integers(0, 40, 700) / 10
    outcomes = random.choice(["complete", "complete", "pruned", "diverged"], 700)
    past = {
        n: TrialResult(None if outcome == "diverged" else float(value), Outcome(str(outcome)), {})
        for n, (value, outcome) in enumerate(zip(values, outcomes, strict=True))
        if n % 7
    }
    for count in (50, 150, 250, 600):
        some = dict(list(past.items())[:count])
        complete = [n for n, r in some.items() if r.outcome is Outcome.COMPLETE]
        best = sorted(complete, key=lambda n: ((-1 if higher else 1) * some[n].value, n))[: MAX_HISTORY // 2]
        rest = sorted(set(some) - set(best))[-(MAX_HISTORY - len(best)) :]
        assert list(selected(some, higher_is_better=higher)) == sorted({*best, *rest})
