"""The range test's rules on losses that are known, and what the paired losses of step 3 are good for."""

import numpy as np
import pytest
from protocol_cases import ground_of, regression, task_of

from ablate.protocol.loss_drop import MAX_DISAGREEMENT, drop_of, judge, range_test
from ablate.protocol.range_test import disagreement, exponential, suggestions, usable
from ablate.protocol.short_runs import LossTrace, map_lanes, train_steps

RATES = exponential(1e-6, 10.0, 150)


def valley_at(center: float, blow_up: float) -> np.ndarray:
    """Falls from 2.3 to 0.3 as a sigmoid in log rate with its steepest point at `center`; blows up from `blow_up`."""
    way = np.log(RATES / center) / 0.7
    return 2.3 - 2.0 / (1 + np.exp(-way)) + (RATES / blow_up) ** 4


def test_rates_are_evenly_spaced_in_the_logarithm():
    assert RATES[0] == pytest.approx(1e-6)
    assert RATES[-1] == pytest.approx(10)
    assert np.diff(np.log(RATES)) == pytest.approx(np.full(149, np.log(1e7) / 149))


@pytest.mark.parametrize("center", [1e-3, 1e-2, 3e-2])
def test_each_rule_finds_what_it_is_for(center):
    losses = valley_at(center, 100 * center)
    end = usable(losses)
    suggested = suggestions(RATES[:end], losses[:end])
    true_minimum = RATES[losses.argmin()]
    assert suggested["steepest"] == pytest.approx(center, rel=0.5)
    assert suggested["valley"] == pytest.approx(center, rel=0.5)
    assert suggested["minimum / 10"] == pytest.approx(true_minimum / 10, rel=0.2)
    assert disagreement(suggested) == pytest.approx(max(suggested.values()) / min(suggested.values()))


def test_the_test_ends_where_the_loss_blows_up_or_is_not_finite():
    losses = valley_at(1e-2, 1.0)
    end = usable(losses)
    assert RATES[losses.argmin()] < RATES[end] < 3.0
    losses[end - 20 :] = np.nan
    assert usable(losses) == end - 20
    assert usable(np.full(150, np.nan)) == 0
    assert usable(np.full(150, 2.3)) == 150


@pytest.mark.parametrize(
    "losses",
    [
        np.full(150, 2.3),
        np.linspace(2.3, 4, 150),
        2.3 + 0.01 * np.sin(np.arange(150)),
        np.full(5, 2.3),
        np.empty(0),
    ],
)
def test_where_nothing_falls_nothing_is_suggested(losses):
    assert suggestions(RATES[: len(losses)], losses) == {}
    assert disagreement({}) == 1.0


def test_noise_moves_the_suggestions_little():
    losses = valley_at(1e-2, 1.0)
    losses = losses * (1 + 0.05 * np.random.default_rng(0).standard_normal(150))
    end = usable(losses)
    for rate in suggestions(RATES[:end], losses[:end]).values():
        assert 2e-3 < rate < 1e-1


def ranged(task):
    setup = ground_of(task)
    (untrained,) = map_lanes(setup.context, [setup.short_run(0.0)], lambda lanes: train_steps(lanes, 100))
    return range_test(setup, untrained.losses)


def test_losses_are_relative_to_the_untrained_model_on_the_same_batch():
    """Diabetes in batches of 64 scatters by a fifth; while the rate is too low to matter the curve is flat."""
    rates, losses = ranged(regression())
    low = losses[rates < 1e-5]
    assert low.std() / low.mean() < 0.01
    assert losses.min() < 0.8 * low.mean()


def test_a_drop_is_a_paired_difference():
    noise = 0.5 * np.random.default_rng(0).standard_normal(100)
    untrained = 2.3 + noise
    drop = drop_of(0.1, LossTrace(untrained - 0.1), untrained)
    assert drop.falls
    assert drop.share == pytest.approx(0.1 / untrained[-20:].mean())
    assert not drop_of(0.1, LossTrace(untrained - 0.01), untrained).falls  # below two per cent
    assert not drop_of(0.1, LossTrace(untrained - 0.1 + noise[::-1]), untrained).falls  # within its error
    lost = untrained - 0.5
    lost[90:] = np.nan
    assert not drop_of(0.1, LossTrace(lost), untrained).falls


def test_causes_of_no_drop():
    still = np.full(100, 2.3)
    flat = drop_of(0.1, LossTrace(still), still)
    dead = drop_of(1.0, LossTrace(np.full(100, np.nan)), still)
    codes = [
        judge(drops, None, 2.3, overfitted=known)[0].code
        for drops, known in (([flat, dead], True), ([flat], False), ([dead], True))
    ]
    assert codes == ["labels-unrelated", "does-not-learn", "diverges-at-every-rate"]


@pytest.mark.parametrize(
    ("fall", "prior", "codes"),
    [
        (1.0, 2.3, []),
        (0.05, 2.3, ["hardly-below-the-prior"]),
        (0.2, 2.3, ["falls-slowly"]),
        (1.7, 0.5, ["hardly-below-the-prior"]),  # imbalanced: falls far, to the prior
        (2.1, 0.5, []),
    ],
)
def test_judgement_of_a_drop(fall, prior, codes):
    still = np.full(100, 2.3)
    drop = drop_of(0.1, LossTrace(still - fall), still)
    assert [one.code for one in judge([drop], drop, prior, overfitted=True)] == codes


def test_the_loss_in_evaluation_mode_decides_where_dropout_raises_the_other():
    still = np.full(100, 2.3)
    drop = drop_of(0.1, LossTrace(still - 0.05), still)
    by_loss = {loss: judge([drop], drop, 2.3, overfitted=True, evaluated=loss) for loss in (1.5, 2.15, 4.0)}
    codes = {loss: [one.code for one in findings] for loss, findings in by_loss.items()}
    assert codes == {1.5: [], 2.15: ["falls-slowly"], 4.0: ["hardly-below-the-prior"]}


def test_a_rate_at_the_end_of_the_decades_is_told():
    still = np.full(100, 2.3)
    drop = drop_of(10.0, LossTrace(still - 1), still)
    lower = [drop_of(rate, LossTrace(still - 0.5), still) for rate in (0.1, 1.0)]
    assert [one.code for one in judge([*lower, drop], drop, 2.3, overfitted=True)] == ["unusual-rate"]


def test_suggestions_of_a_real_model_lie_among_sound_rates():
    rates, losses = ranged(task_of())
    suggested = suggestions(rates, losses)
    assert set(suggested) == {"steepest", "valley", "minimum / 10"}
    assert all(1e-3 < rate < 0.5 for rate in suggested.values())
    assert disagreement(suggested) < MAX_DISAGREEMENT
