"""Flooding against the formula with the absolute value, and against the paper's picture of the gradient."""

from __future__ import annotations

import math

import pytest
import torch
from sweep import sweep

from ablate.catalogue.criterion.flooding import TRICK, mean_loss
from ablate.seams.settings import Settings

CPU = torch.device("cpu")


def settings(levels, dtype=torch.float64):
    return Settings.stack(TRICK, [None if b is None else {"level": b} for b in levels], CPU, dtype)


@sweep("seed", range(100))
def test_loss_and_gradient_follow_the_paper(seed):
    generator = torch.Generator().manual_seed(seed)
    lanes = 1 + seed % 6
    losses = torch.rand(lanes, generator=generator, dtype=torch.float64).requires_grad_()
    levels = torch.rand(lanes, generator=generator, dtype=torch.float64).tolist()
    flooded = mean_loss(losses, settings(levels))
    (gradient,) = torch.autograd.grad(flooded.sum(), losses)
    for loss, level, value, slope in zip(
        losses.tolist(), levels, flooded.tolist(), gradient.tolist(), strict=True
    ):
        assert value == pytest.approx(math.fabs(loss - level) + level, rel=1e-14)
        assert slope == math.copysign(1.0, loss - level)


def test_above_the_level_not_a_bit_changes():
    losses = torch.rand(1000, generator=torch.Generator().manual_seed(0)) + 0.3
    assert torch.equal(mean_loss(losses, settings([0.3] * 1000, torch.float32)), losses)


def test_at_the_level_the_loss_descends() -> None:
    losses = torch.tensor([0.25], dtype=torch.float64, requires_grad=True)
    flooded = mean_loss(losses, settings([0.25]))
    assert flooded.item() == 0.25
    assert torch.autograd.grad(flooded.sum(), losses)[0].item() == 1.0


@pytest.mark.parametrize("loss", [0.0, 1e-30, 0.7, -0.4])
@pytest.mark.parametrize("level", [0.0, None])
def test_neutral_is_the_identity_and_so_is_its_gradient(loss, level):
    losses = torch.tensor([loss], requires_grad=True)
    flooded = mean_loss(losses, settings([level], torch.float32))
    assert torch.equal(flooded.detach(), losses.detach())
    assert torch.autograd.grad(flooded.sum(), losses)[0].item() == 1.0
