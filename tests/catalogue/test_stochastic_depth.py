"""Stochastic depth: which branches are dropped, how kept ones are scaled, and that evaluation keeps all."""

from __future__ import annotations

import pytest
import torch
from model_cases import MODELS, inputs, operated

from ablate.records.errors import InputError
from ablate.surgery.layers import DropBranch, Residual


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.8])
def test_examples_are_dropped_whole_and_scaled(p: float) -> None:
    layer, x = DropBranch("here", p), torch.randn(25, 3, 4, dtype=torch.float64).abs() + 1
    kept = []
    for step in range(100):
        layer.key.fill_(step * 7919)
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        ratio = (y / x).detach().flatten(1)
        torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
        kept.append(ratio[:, 0] > 0)
        torch.testing.assert_close(ratio[:, 0], kept[-1].double() / (1 - p), rtol=1e-6, atol=0)
        (gradient,) = torch.autograd.grad(y.sum(), leaf)
        torch.testing.assert_close(gradient, (y / x).detach())
    assert torch.stack(kept).double().mean().item() == pytest.approx(1 - p, abs=0.04)
    assert torch.equal(layer.eval()(x), x)


def test_probability_rises_with_depth_and_brings_the_skip_connection() -> None:
    net = operated("stochastic_depth", "mlp", p=0.4)
    layers = [layer for layer in net.module.modules() if isinstance(layer, DropBranch)]
    gates = [layer for layer in net.module.modules() if isinstance(layer, Residual)]
    assert [round(1 - 1 / float(layer.scale), 4) for layer in layers] == [0.4]
    assert [float(gate.on) for gate in gates] == [1.0]
    x = inputs("mlp", 5)
    skipping = operated("skip_connection", "mlp").module.eval()
    torch.testing.assert_close(net.module.eval()(x), skipping(x))


@pytest.mark.parametrize("settings", [{"on": False}, {"p": 0.0}])
def test_neutral_is_the_model(settings: dict[str, float]) -> None:
    torch.manual_seed(0)
    plain, x = MODELS["mlp"][0](), inputs("mlp", 5)
    assert torch.equal(operated("stochastic_depth", "mlp", **settings).module(x), plain(x))


def test_all_of_a_branch_cannot_be_dropped() -> None:
    with pytest.raises(InputError, match="below 1"):
        operated("stochastic_depth", "mlp", p=1.0)
