"""The L1 penalty and its gradient, weight by weight."""

from __future__ import annotations

import pytest
import torch
from criterion_cases import settings_of_lanes
from sweep import sweep

from ablate.catalogue.criterion.l1 import penalty


@sweep("seed", range(5))
def test_penalty_and_gradient(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"conv": (20, 4, 3, 3, 3), "matrix": (20, 5, 7), "bias": (20, 5)}
    weights = {
        name: torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for name, shape in shapes.items()
    }
    strengths = torch.logspace(-6, -2, 20, dtype=torch.float64)
    penalties = penalty(weights, settings_of_lanes("l1", [{"strength": s} for s in strengths.tolist()]))
    for lane, strength in enumerate(strengths.tolist()):
        numbers = weights["conv"][lane].flatten().tolist() + weights["matrix"][lane].flatten().tolist()
        assert penalties[lane].item() == pytest.approx(strength * sum(abs(number) for number in numbers))
    gradients = torch.autograd.grad(penalties.sum(), [weights["conv"], weights["matrix"]])
    for name, gradient in zip(("conv", "matrix"), gradients, strict=True):
        lanes = strengths.reshape(-1, *[1] * (gradient.ndim - 1))
        torch.testing.assert_close(gradient, lanes * weights[name].detach().sign())
    assert torch.autograd.grad(penalties.sum(), weights["bias"], allow_unused=True) == (None,)


def test_neutral_adds_nothing_and_zero_has_no_slope() -> None:
    weights = {"matrix": torch.zeros(2, 3, 3, requires_grad=True)}
    penalties = penalty(weights, settings_of_lanes("l1", [None, {"strength": 0.1}]))
    assert penalties.tolist() == [0.0, 0.0]
    assert torch.autograd.grad(penalties.sum(), weights["matrix"])[0].eq(0).all()
