"""Step 6 on synthetic curves: each finding where it belongs, and near misses that are none."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ablate.protocol import curves
from ablate.protocol.curve_check import diagnose, diagnose_recorded
from ablate.protocol.short_runs import moving_average
from bench.curves import RESULTS

EPOCHS = np.arange(20)
SETTLED = 0.2 + 2.0 * np.exp(-EPOCHS / 2)
RNG = np.random.default_rng(0)
NOISY = SETTLED * (1 + 0.02 * RNG.standard_normal(20))


def test_moving_average_is_the_mean_of_neighbours_and_ends_at_the_data():
    values = np.array([1.0, 4.0, 7.0, 1.0])
    assert moving_average(values) == pytest.approx([1.0, 4.0, 4.0, 1.0])
    assert moving_average(np.arange(30.0), 9) == pytest.approx(np.arange(30.0))


def test_scatter_measures_noise_and_not_the_trend():
    assert curves.scatter(np.linspace(5, 0, 50)) == pytest.approx(0, abs=1e-12)
    noise = np.linspace(5, 0, 4000) + 0.1 * np.random.default_rng(1).standard_normal(4000)
    assert curves.scatter(noise) == pytest.approx(0.1, rel=0.1)
    noise[100] = 50  # one spike is no noise
    assert curves.scatter(noise) == pytest.approx(0.1, rel=0.1)


def test_plateau_at_the_start_is_seen_with_its_length():
    stuck = np.concatenate([np.full(6, 2.3), SETTLED[:14] + 0.1])
    finding = curves.plateau(stuck)
    assert finding is not None
    assert finding.code == "start-up-plateau"
    assert finding.where == "epochs 1 to 6"
    assert "init" in finding.advice


@pytest.mark.parametrize(
    "curve",
    [
        SETTLED,
        NOISY,
        np.linspace(2.3, 0.5, 20),  # falls evenly
        np.linspace(2.3, 0.5, 100),
        np.full(20, 2.3),  # never falls: not a *start-up* plateau
        np.concatenate([[2.3, 2.3], SETTLED]),  # two epochs
        2.3 + 0.01 * RNG.standard_normal(20),
        1 + 0.25 * np.random.default_rng(0).standard_normal(20),  # noise alone
    ],
)
def test_no_plateau(curve):
    assert curves.plateau(curve) is None


def test_still_falling_is_seen_at_the_end():
    finding = curves.still_falling(np.linspace(2.3, 0.5, 20))
    assert finding is not None
    assert finding.where == "epochs 16 to 20"
    assert "longer" in finding.advice


@pytest.mark.parametrize(
    "curve", [SETTLED, NOISY, np.full(20, 0.3), np.linspace(0.5, 2.3, 20), 1 + 0.1 * (-1.0) ** EPOCHS]
)
def test_not_falling_any_more(curve):
    assert curves.still_falling(curve) is None


def test_rising_validation_loss_names_its_lowest_epoch():
    turned = np.concatenate([SETTLED[:8], SETTLED[7] + 0.05 * np.arange(12)])
    finding = curves.rising(turned)
    assert finding is not None
    assert finding.where == "epochs 8 to 20"
    assert "near epoch 8" in finding.advice


@pytest.mark.parametrize(
    "curve",
    [
        SETTLED,
        NOISY,
        SETTLED + 0.0005 * EPOCHS,  # rises by less than a tenth
        np.concatenate([SETTLED[:-1], [0.5]]),  # one bad epoch at the end
        0.5 + 0.1 * RNG.standard_normal(20),
    ],
)
def test_not_rising(curve):
    assert curves.rising(curve) is None


def test_accuracy_gaps():
    up = 1 - 0.9 * np.exp(-EPOCHS / 3)
    wide = curves.accuracy_gap(up, up - 0.15, 1000)
    assert wide is not None
    assert (wide.code, wide.where) == ("wide-gap", "epochs 17 to 20")
    none = curves.accuracy_gap(0.7 * up, 0.7 * up, 1000)
    assert none is not None
    assert none.code == "no-gap"
    assert "larger model" in none.advice
    assert curves.accuracy_gap(up, up - 0.03, 1000) is None  # ordinary
    assert curves.accuracy_gap(up, up, 1000) is None  # no gap, and nothing left to learn
    assert curves.accuracy_gap(up, up - 0.06, 36) is None  # within what 36 examples can tell


def test_loss_gaps():
    down = SETTLED
    assert curves.loss_gap(down, 2 * down, 1.0).code == "wide-gap"
    assert curves.loss_gap(down, 1.02 * down, 1.0).code == "no-gap"
    assert curves.loss_gap(down, 1.02 * down, 10.0) is None  # next to nothing is left to explain
    assert curves.loss_gap(down, 1.3 * down, 1.0) is None


def test_spikes_are_seen_where_they_are():
    for place in (1, 5, 18):
        spiked = NOISY.copy()
        spiked[place] *= 3
        finding = curves.spikes(spiked)
        assert finding is not None
        assert finding.where == f"epoch {place + 1}"
        assert "clip" in finding.advice
    twice = NOISY.copy()
    twice[[6, 12]] += 1
    assert curves.spikes(twice).where == "epochs 7, 13"
    broad = NOISY.copy()
    broad[8:10] += 1  # over after two epochs
    assert curves.spikes(broad) is not None


@pytest.mark.parametrize(
    "curve",
    [
        SETTLED,
        NOISY,
        np.concatenate([SETTLED[:10], SETTLED[10:] + 1]),  # a step up that stays is no spike
        0.5 + 0.1 * RNG.standard_normal(20),  # noise throughout
        np.where(EPOCHS == 15, 0.002, 0.001) + np.exp(-EPOCHS * 1.5),  # invisible beside the first loss
    ],
)
def test_no_spike(curve):
    assert curves.spikes(curve) is None


def test_sound_curves_have_no_finding():
    up = 1 - 0.9 * np.exp(-EPOCHS / 2)
    sound = {
        "train/loss": SETTLED,
        "validation/loss": SETTLED * 1.1,
        "train/accuracy": up,
        "validation/accuracy": up - 0.02,
    }
    assert diagnose(sound, 2.3, 400) == []


def test_several_findings_stand_side_by_side():
    up = 1 - 0.9 * np.exp(-EPOCHS / 2)
    train = np.concatenate([np.full(4, 2.3), SETTLED[:16]])
    train[12] += 2
    validation = np.concatenate([SETTLED[:8], SETTLED[7] + 0.05 * np.arange(12)])
    findings = diagnose(
        {
            "train/loss": train,
            "validation/loss": validation,
            "train/accuracy": up,
            "validation/accuracy": up - 0.2,
        },
        2.3,
        400,
    )
    assert {one.code for one in findings} == {"start-up-plateau", "validation-rising", "wide-gap", "spikes"}


positive = st.floats(1e-6, 1e6)


@settings(deadline=None)  # no wall-time limit on a loaded machine
@given(
    st.integers(0, 30).flatmap(
        lambda n: st.tuples(arrays(float, n, elements=positive), arrays(float, n, elements=positive))
    )
)
def test_any_curve_is_judged_without_failing(pair):
    train, validation = pair
    findings = diagnose({"train/loss": train, "validation/loss": validation}, 1.0, 100)
    assert all(one.level in ("note", "warn") for one in findings)
    assert len(train) >= curves.MIN_EPOCHS or not findings
    codes = {one.code for one in findings}
    assert not {"validation-rising", "still-falling"} <= codes


RUNS = json.loads(RESULTS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("run", RUNS, ids=[f"{run['kind']}, seed {run['seed']}" for run in RUNS])
def test_a_real_run_is_read_as_it_was_made(run):
    """The runs of `python -m bench.curves`."""
    findings = diagnose_recorded(run["curves"], run["prior"], run["examples"])
    if run["expected"]:
        assert set(run["expected"]) & {one.code for one in findings}
    else:
        assert [one for one in findings if one.level == "warn"] == []


def test_there_are_enough_real_runs_of_each_kind():
    assert len(RUNS) >= 30
    assert Counter(run["kind"] for run in RUNS).most_common()[-1][1] >= 5
