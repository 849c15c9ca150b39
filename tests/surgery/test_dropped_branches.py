"""Stochastic depth in the residual branches that a model has: against the blocks written by hand, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from test_inventory import IMAGES, TOKENS, PreNorm, ResNet, net_of, operate
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.seams.draws import keep_mask, least_kept
from ablate.surgery.layers import DropBranch
from ablate.surgery.net import Net, open_net
from tests.sweep import sweep

Drop = Callable[[int, Tensor], Tensor]


def res_net(model: nn.Module, x: Tensor, drop: Drop) -> Tensor:
    h = model.stem(x)
    for number, block in enumerate(model.blocks):
        branch = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(h)))))
        shortcut = h if block.downsample is None else block.downsample(h)
        h = torch.relu(shortcut + drop(number, branch))
    return model.head(h.mean(dim=(2, 3)))


def pre_norm(model: nn.Module, x: Tensor, drop: Drop) -> Tensor:
    h = model.parts["norm1"](x)
    x = x + drop(0, model.parts["attention"](h, h, h)[0])
    x = x + drop(1, model.parts["mlp"](model.parts["norm2"](x)))
    return model.head(x.mean(dim=1))


CASES = [(ResNet, res_net, IMAGES), (PreNorm, pre_norm, TOKENS)]


def dropping(
    make: Callable[[], nn.Module], shape: tuple[int, ...], p: float, seed: int
) -> tuple[Net, nn.Module]:
    """A model with stochastic depth and the same without, in float64, with no other random layer."""
    torch.manual_seed(seed)
    model = make().double()
    if hasattr(model, "drop"):
        model.drop = nn.Identity()
    net = open_net(copy.deepcopy(model), torch.randn(2, *shape, dtype=torch.float64))
    settings = SimpleNamespace(p=p, on=True, generator=torch.Generator())
    registry().code("stochastic_depth").model(net, settings)
    return net, model


@sweep("seed", range(50))
def test_a_branch_is_dropped_whole_or_scaled(seed: int) -> None:
    make, by_hand, shape = CASES[seed % 2]
    p = 0.1 + 0.7 * (seed / 50)
    net, model = dropping(make, shape, p, seed)
    layers = [layer for layer in net.module.modules() if isinstance(layer, DropBranch)]
    assert net.touched["stochastic_depth"] == len(layers) == 2
    keys = torch.randint(2**31 - 1, (2,), dtype=torch.int32)
    for layer, key in zip(layers, keys, strict=True):
        layer.key.copy_(key)

    def drop(number: int, branch: Tensor) -> Tensor:
        chance = p * (number + 1) / 2
        kept = keep_mask(keys[number], torch.tensor(least_kept(chance), dtype=torch.int16), (len(branch),))
        return branch * (kept.double() / (1 - chance)).view(-1, *[1] * (branch.ndim - 1))

    x = torch.randn(9, *shape, dtype=torch.float64)
    for training in (True, False):
        y = net.module.train(training)(x)
        expected = by_hand(model.train(training), x, drop if training else lambda _, branch: branch)
        torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)
        slope = torch.randn_like(expected)
        mine, theirs = (
            torch.autograd.grad((output * slope).sum(), list(one.parameters()))
            for output, one in ((y, net.module), (expected, model))
        )
        for gradient, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(gradient, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("make", "shape"), [(ResNet, IMAGES), (PreNorm, TOKENS)])
@pytest.mark.parametrize("settings", [{"on": False}, {"p": 0.0}])
def test_without_drops_it_is_the_model_bit_for_bit(make, shape, settings) -> None:
    plain, x = net_of(make, shape).module, torch.randn(4, *shape)
    net = operate(net_of(make, shape), "stochastic_depth", **settings)
    assert torch.equal(net.module(x), plain(x))


def test_blocks_that_cannot_be_traced_are_told() -> None:
    class Training(ResNet):
        def forward(self, x: Tensor) -> Tensor:
            h = self.stem(x)
            h = h + self.blocks[0].conv2(h) * (2 if self.training else 1)
            return self.head(h.mean(dim=(2, 3)).repeat(1, 2))

    net = operate(net_of(Training, IMAGES), "stochastic_depth")
    assert ("residual addition in Training", "out of reach") in net.left["stochastic_depth"]
