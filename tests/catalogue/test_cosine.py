"""Cosine decay against the formula in float64 and against torch's scheduler."""

from __future__ import annotations

import math
import random

import pytest
import torch
from sweep import sweep

from ablate.catalogue.registry import registry
from ablate.catalogue.schedule.cosine import factor
from ablate.seams.settings import Settings

CPU = torch.device("cpu")


def settings(lanes: int) -> Settings:
    return Settings.stack(registry()["cosine"], [{}] * lanes, CPU)


@sweep("seed", range(25))
def test_equals_the_formula(seed: int) -> None:
    rng = random.Random(seed)
    total, lanes = rng.randint(1, 5000), rng.randint(1, 5)
    steps = torch.tensor([[rng.randint(0, total) for _ in range(lanes)] for _ in range(8)])
    expected = [[0.5 * (1 + math.cos(math.pi * step / total)) for step in row] for row in steps.tolist()]
    factors = factor(steps, total, 7, settings(lanes)).double()
    torch.testing.assert_close(factors, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=5e-7)


def test_equals_torchs_scheduler() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
    for step in range(40):
        share = factor(torch.full((1,), step), 40, 10, settings(1)).item()
        assert share == pytest.approx(schedule.get_last_lr()[0], abs=1e-6)
        optimizer.step()
        schedule.step()


def test_it_begins_at_one_and_ends_at_zero() -> None:
    factors = factor(torch.tensor([[0], [50], [100]]), 100, 10, settings(1)).flatten().tolist()
    assert factors == pytest.approx([1.0, 0.5, 0.0], abs=1e-6)
