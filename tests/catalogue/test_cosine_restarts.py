"""Warm restarts against equation 5 walked step by step, and against torch's scheduler."""

from __future__ import annotations

import math
import random

import pytest
import torch
from sweep import sweep
from torch import Tensor

from ablate.catalogue.registry import registry
from ablate.catalogue.schedule.cosine_restarts import factor
from ablate.seams.settings import Settings

CPU = torch.device("cpu")


def curve(lanes: list[tuple[int, int]], epochs: int, per_epoch: int, dtype: torch.dtype) -> Tensor:
    """Factors `[K, steps]` for lanes of (cycle, multiplier)."""
    stacked = [{"cycle": cycle, "multiplier": multiplier} for cycle, multiplier in lanes]
    p = Settings.stack(registry()["cosine_restarts"], stacked, CPU, dtype)
    total = epochs * per_epoch
    return torch.stack(
        [factor(torch.full((len(lanes),), t), total, per_epoch, p) for t in range(total)], dim=1
    )


def walked(cycle: int, multiplier: int, epochs: int, per_epoch: int) -> list[float]:
    """The same, walking through the cycles batch by batch with the paper's T_cur and T_i in epochs."""
    factors: list[float] = []
    length = cycle
    while len(factors) < epochs * per_epoch:
        for batch in range(length * per_epoch):
            since = batch / per_epoch
            factors.append(0 + 0.5 * (1 - 0) * (1 + math.cos(since / length * math.pi)))
        length *= multiplier
    return factors[: epochs * per_epoch]


@sweep("seed", range(20))
def test_equals_the_paper(seed: int) -> None:
    rng = random.Random(seed)
    lanes = [(rng.randint(1, 12), rng.randint(1, 4)) for _ in range(6)]
    epochs, per_epoch = rng.randint(1, 40), rng.randint(1, 6)
    curves = curve(lanes, epochs, per_epoch, torch.float64)
    for lane, (cycle, multiplier) in enumerate(lanes):
        expected = torch.tensor(walked(cycle, multiplier, epochs, per_epoch), dtype=torch.float64)
        torch.testing.assert_close(curves[lane], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("cycle", "multiplier"), [(1, 1), (1, 2), (3, 1), (4, 2), (2, 3)])
def test_equals_torch_epoch_by_epoch(cycle: int, multiplier: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, cycle, multiplier)
    expected = []
    for _ in range(30):
        expected.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    factors = curve([(cycle, multiplier)], 30, 1, torch.float64)[0]
    torch.testing.assert_close(factors, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-14)


def test_restarts_stand_where_the_cycles_end() -> None:
    factors = curve([(2, 2)], 14, 10, torch.float64)[0]
    starts = [0, 20, 60]
    assert (factors == 1).nonzero().flatten().tolist() == starts
    assert all(factors[t - 1] < 0.01 for t in [*starts[1:], 140])
    falls = factors[1:] < factors[:-1]
    assert (~falls).nonzero().flatten().tolist() == [t - 1 for t in starts[1:]]


def test_a_lane_has_the_same_bits_alone_and_in_a_group() -> None:
    rng = random.Random(2)
    lanes = [(rng.randint(1, 9), rng.randint(1, 3)) for _ in range(19)]
    together = curve(lanes, 23, 7, torch.float32)
    for lane, lane_settings in enumerate(lanes):
        assert torch.equal(together[lane], curve([lane_settings], 23, 7, torch.float32)[0])
