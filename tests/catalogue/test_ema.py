"""The moving average against its closed form, and against torch.optim.swa_utils where the decay is constant."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sweep import sweep
from torch.optim.swa_utils import get_ema_avg_fn

from ablate.catalogue.evaluation.ema import TRICK, average, averaged, begin, warmed_decay
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Layout, Spec

CPU = torch.device("cpu")
LAYOUT = Layout([Spec("a", (3, 2)), Spec("b", (5,))])


def settings(decays, dtype=torch.float64):
    return Settings.stack(TRICK, [None if d is None else {"decay": d} for d in decays], CPU, dtype)


def path(random, lanes, steps):
    return [
        LaneTensors(LAYOUT, torch.tensor(random.normal(size=(lanes, LAYOUT.width)))) for _ in range(steps + 1)
    ]


def followed(weights, p, start=0):
    state = begin(weights[0], p)
    for step, now in enumerate(weights[1:], start + 1):
        average(state, now, torch.full((now.lanes,), step), p)
    return state


@sweep("seed", range(100))
def test_average_is_the_sum_of_all_weights_with_their_shares(seed):
    random = np.random.default_rng(seed)
    lanes, steps = random.integers(1, 5), random.integers(1, 40)
    decays = random.uniform(0.01, 0.99, lanes)
    weights = path(random, lanes, steps)
    p = settings(decays.tolist())
    average_of_lanes = averaged(followed(weights, p), weights[-1], p)
    for lane, decay in enumerate(decays):
        kept = np.array([min(decay, (1 + t) / (10 + t)) for t in range(steps)])
        shares = [np.prod(kept)] + [(1 - kept[t]) * np.prod(kept[t + 1 :]) for t in range(steps)]
        assert sum(shares) == pytest.approx(1)
        expected = sum(share * now["a"][lane].numpy() for share, now in zip(shares, weights, strict=True))
        np.testing.assert_allclose(average_of_lanes["a"][lane].numpy(), expected, rtol=1e-12, atol=1e-14)


def test_after_the_warm_up_it_is_torchs_average():
    random = np.random.default_rng(0)
    weights = path(random, 1, 30)
    state = followed(weights, settings([0.9]), start=1000)
    rule = get_ema_avg_fn(0.9)
    expected = weights[0].flat
    for now in weights[1:]:
        expected = rule(expected, now.flat, 0)
    torch.testing.assert_close(state["average"], expected, rtol=1e-13, atol=1e-14)


def test_decay_is_warmed_up():
    decay = warmed_decay(torch.full((4,), 0.99, dtype=torch.float64), torch.tensor([0, 8, 890, 10**6]))
    assert decay.tolist() == pytest.approx([0.1, 0.5, 0.99, 0.99])


def test_neutral_lanes_are_scored_at_their_weights_and_lanes_do_not_mix():
    generator = torch.Generator().manual_seed(1)
    decays = [0.0, 0.9, None, 0.5]
    weights = [LaneTensors(LAYOUT, torch.randn(4, LAYOUT.width, generator=generator)) for _ in range(9)]
    p = settings(decays, torch.float32)
    together = averaged(followed(weights, p), weights[-1], p)
    for lane, decay in enumerate(decays):
        one = settings([decay], torch.float32)
        lane_weights = [now.take(torch.tensor([lane])) for now in weights]
        assert torch.equal(
            averaged(followed(lane_weights, one), lane_weights[-1], one).flat[0], together.flat[lane]
        )
        assert torch.equal(together.flat[lane], weights[-1].flat[lane]) is (decay in (0.0, None))


def test_a_lane_whose_average_is_not_finite_is_still_itself_without_the_trick():
    p = settings([0.0])
    weights = LaneTensors(LAYOUT, torch.ones(1, LAYOUT.width, dtype=torch.float64))
    state = {"average": torch.full_like(weights.flat, float("nan"))}
    assert torch.equal(averaged(state, weights, p).flat, weights.flat)
