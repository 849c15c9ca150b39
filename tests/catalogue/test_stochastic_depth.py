"""Stochastic depth: which branches are dropped, how kept ones are scaled, and that evaluation keeps all."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from model_cases import MODELS, inputs, operated
from torch import nn

from ablate.catalogue.model.stochastic_depth import model
from ablate.records.errors import InputError
from ablate.surgery.layers import DropBranch, Residual
from ablate.surgery.net import open_net


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


def test_the_ith_of_n_layers_is_dropped_with_probability_p_i_over_n() -> None:
    """Equation 4 of the paper: layer l of L survives with probability 1 − l / L · (1 − p_L), p_L that of the last layer."""
    hidden = [layer for _ in range(4) for layer in (nn.Linear(5, 5), nn.ReLU())]
    net = open_net(nn.Sequential(*hidden, nn.Linear(5, 2)), torch.zeros(2, 5))
    model(net, SimpleNamespace(on=True, p=0.6))
    kept = [1 / float(layer.scale) for layer in net.module.modules() if isinstance(layer, DropBranch)]
    assert kept == pytest.approx([1 - number / 4 * 0.6 for number in (1, 2, 3, 4)])
    assert "stochastic_depth" not in net.left


class Block(nn.Module):
    """A layer with a skip connection, and two layers of which one keeps its shape."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.first, self.second, self.head = (nn.Linear(*s) for s in ((5, 5), (5, 5), (5, 4), (4, 2)))  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.inside(x).relu()
        return self.head(self.second(self.first(x).relu()).relu())


def test_a_model_with_residual_additions_has_their_branches_dropped_and_no_others() -> None:
    net = open_net(Block(), torch.zeros(2, 5))
    model(net, SimpleNamespace(on=True, p=0.5))
    assert net.touched == {"stochastic_depth": 1}
    assert [
        1 / float(layer.scale) for layer in net.module.modules() if isinstance(layer, DropBranch)
    ] == pytest.approx([0.5])
    assert "stochastic_depth" not in net.left


@pytest.mark.parametrize("settings", [{"on": False}, {"p": 0.0}])
def test_neutral_is_the_model(settings: dict[str, float]) -> None:
    torch.manual_seed(0)
    plain, x = MODELS["mlp"][0](), inputs("mlp", 5)
    assert torch.equal(operated("stochastic_depth", "mlp", **settings).module(x), plain(x))


def test_all_of_a_branch_cannot_be_dropped() -> None:
    with pytest.raises(InputError, match="below 1"):
        operated("stochastic_depth", "mlp", p=1.0)
