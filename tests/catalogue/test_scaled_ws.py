"""Scaled weight standardisation against the authors' formula; it keeps the variance of activations through ReLU."""

from __future__ import annotations

import pytest
import torch
from sweep import sweep
from torch import Tensor
from weight_cases import assert_same_weight, random_weight

from ablate.catalogue.model.scaled_ws import GAMMA, ScaledStandardization


@sweep("case", range(100))
def test_equal_to_the_authors_formula(case: int) -> None:
    """WSConv2D: scale = rsqrt(max(var · fan_in, 1e-4)) · gain; weight · scale − mean · scale."""
    weight = random_weight(case)
    mine = ScaledStandardization(True, len(weight)).double()
    gain = torch.linspace(0.5, 2, len(weight), dtype=torch.float64).reshape(-1, *[1] * (weight.ndim - 1))
    mine.gain.data = gain.flatten()

    def reference(weight: Tensor) -> Tensor:
        flat = weight.flatten(1)
        var, mean = torch.var_mean(flat, dim=1, unbiased=False, keepdim=True)
        scale = (
            torch.rsqrt(torch.clamp(var * flat.shape[1], min=1e-4)) * gain.reshape(-1, 1) * 1.7128585504496627
        )
        return (flat * scale - mean * scale).reshape(weight.shape)

    assert_same_weight(mine, reference, weight)
    gains = torch.autograd.grad(mine(weight).square().sum(), mine.gain)[0]
    expected = torch.autograd.functional.jacobian(lambda g: torch.func.functional_call(mine, {"gain": g}, weight).square().sum(), mine.gain.detach())  # fmt: skip
    torch.testing.assert_close(gains, expected)


def test_variance_stays_through_layers_of_relus() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 256, generator=generator)
    for _ in range(5):
        weight = ScaledStandardization(True, 256)(torch.rand(256, 256, generator=generator)).detach()
        x = torch.relu(x) @ weight.T
    assert 0.7 < float(x.var(dim=0).mean()) < 1.4
    assert pytest.approx(1.7128585504496627) == GAMMA


def test_a_lane_without_it_has_the_weight_itself_and_a_gain_of_zero() -> None:
    weight = random_weight(1)
    off = ScaledStandardization(False, len(weight))
    assert torch.equal(off(weight), weight)
    assert off.gain.eq(0).all()
