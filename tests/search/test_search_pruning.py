"""Pruning by hand-made cases, and against Optuna's own pruners where the two rules coincide."""

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from ablate.records.errors import InputError
from ablate.search.pruning import REDUCTION, STARTUP, decide, expected_share, rungs

NAN = float("nan")
value = st.floats(0, 1, width=16)


def by_optuna(pruner, finished, curve, epochs, higher):
    """Optuna's decision for one more trial after `finished`, whose curves ran (and were judged) in turn."""
    study = optuna.create_study(direction="maximize" if higher else "minimize", pruner=pruner)
    for past in finished:
        if isinstance(pruner, optuna.pruners.MedianPruner):
            state = TrialState.COMPLETE if len(past) >= epochs else TrialState.PRUNED
            study.add_trial(
                create_trial(state=state, value=past[-1], intermediate_values=dict(enumerate(past, 1)))
            )
            continue
        trial = study.ask()
        for epoch, score in enumerate(past, 1):
            trial.report(score, epoch)
            trial.should_prune()
    trial = study.ask()
    for epoch, score in enumerate(curve, 1):
        trial.report(score, epoch)
        if epoch < len(curve):
            trial.should_prune()
    return trial.should_prune()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(value, min_size=8, max_size=8), max_size=12),
    st.lists(value, min_size=2, max_size=8),
    st.booleans(),
)
def test_one_lane_is_judged_as_optunas_median_pruner_does(finished, curve, higher):
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=2)
    if len(curve) < 8:
        expected = by_optuna(pruner, finished, curve, 8, higher)
        assert decide("median", finished, [curve], epochs=8, higher_is_better=higher) == [expected]


@settings(max_examples=60, deadline=None)
@given(st.lists(value, min_size=1, max_size=12), value, st.booleans())
def test_one_lane_is_judged_as_optunas_successive_halving_does(finished, now, higher):
    """At the first rung (epoch 2 of 8), after trials that all reached it."""
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=REDUCTION)
    past = [[score, score] for score in finished]
    expected = by_optuna(pruner, past, [now, now], 8, higher)
    assert decide("successive-halving", past, [[now, now]], epochs=8, higher_is_better=higher) == [expected]


@pytest.mark.parametrize(("epochs", "expected"), [(1, []), (2, [1]), (3, [1, 2]), (8, [2, 4]), (20, [5, 10])])
def test_rungs(epochs, expected):
    assert rungs(epochs) == expected


def test_half_of_a_group_is_promoted_whatever_its_order():
    group = [[0.1, v] for v in (0.3, 0.9, 0.5, 0.7)]
    more = {"epochs": 8, "higher_is_better": True}
    assert decide("successive-halving", [], group, **more) == [True, False, True, False]
    assert decide("successive-halving", [], group[::-1], **more) == [False, True, False, True]
    assert decide("successive-halving", [], group, epochs=8, higher_is_better=False) == [
        False,
        True,
        False,
        True,
    ]
    assert decide("successive-halving", [[0.0, 1.0]] * 4, group, **more) == [True] * 4
    assert decide("successive-halving", [[1.0]] * 4, group, **more) == [
        True,
        False,
        True,
        False,
    ]  # never got here


def test_nan_is_never_promoted():
    lanes = [[0.5, NAN], [0.5, 0.1]]
    assert decide("successive-halving", [], lanes, epochs=8, higher_is_better=True) == [True, False]
    assert decide("successive-halving", [], [[NAN, NAN]], epochs=8, higher_is_better=True) == [True]
    complete = [[0.5] * 8] * STARTUP
    assert decide("median", complete, [[NAN] * 3, [NAN, 0.6, NAN]], epochs=8, higher_is_better=True) == [
        True,
        False,
    ]


@pytest.mark.parametrize("pruner", ["none", "median", "successive-halving"])
def test_nothing_ends_at_the_last_epoch_or_off_a_rung(pruner):
    better = [[1.0] * 8] * STARTUP
    assert decide(pruner, better, [[0.0] * 8], epochs=8, higher_is_better=True) == [False]
    assert decide(pruner, better, [[0.0]], epochs=8, higher_is_better=True) == [False]
    assert decide(pruner, better, [], epochs=8, higher_is_better=True) == []
    assert decide(pruner, better, [[0.0] * 4], epochs=8, higher_is_better=True) == [pruner != "none"]


def test_unknown_pruner():
    with pytest.raises(InputError, match="did you mean 'median'"):
        decide("medain", [], [[0.0]], epochs=8, higher_is_better=True)


@pytest.mark.parametrize(
    ("pruner", "epochs"),
    [("none", 8), ("successive-halving", 8), ("successive-halving", 20), ("successive-halving", 1)],
)
def test_a_group_trains_the_share_of_its_epochs_that_is_expected(pruner, epochs):
    generator = np.random.default_rng(0)
    lanes, trained = [[] for _ in range(64)], 0
    for _ in range(epochs):
        trained += len(lanes)
        lanes = [[*curve, generator.normal()] for curve in lanes]
        stops = decide(pruner, [], lanes, epochs=epochs, higher_is_better=True)
        lanes = [curve for curve, stop in zip(lanes, stops, strict=True) if not stop]
    assert trained / (64 * epochs) == pytest.approx(expected_share(pruner, epochs))
    assert expected_share("median", epochs) >= expected_share("successive-halving", epochs)
