"""Layer normalisation against `nn.LayerNorm` and against plain loops, in float64."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from model_cases import (
    MODELS,
    assert_lanes_equal_alone,
    assert_same_function,
    inputs,
    operated,
    random_shape,
    randomised,
    scaled_input,
)
from sweep import diagonal
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.surgery.net import open_net
from ablate.surgery.norms import LayerNorm


class Reference(nn.Module):
    """`nn.LayerNorm` over all but the batch, its elementwise gain and shift shared by the positions."""

    def __init__(self, shape: tuple[int, ...], eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape[1]))
        self.bias = nn.Parameter(torch.zeros(shape[1]))
        self.inner = nn.LayerNorm(shape[1:], eps=eps, elementwise_affine=False)

    def forward(self, x: Tensor) -> Tensor:
        per_channel = (slice(None), *[None] * (x.ndim - 2))
        return self.inner(x) * self.weight[per_channel] + self.bias[per_channel]


def test_equal_to_torch() -> None:
    for case in range(120):
        shape, eps = random_shape(case, case % 4), 10.0 ** -(1 + case % 6)
        mine, reference = randomised(LayerNorm(shape[1], eps), case), randomised(Reference(shape, eps), case)
        assert_same_function(mine, reference, scaled_input(shape, case), case)
        assert_same_function(mine.eval(), reference.eval(), scaled_input(shape, case), case)


def test_units_of_a_dense_layer_are_torchs_own_module() -> None:
    for case in range(100):
        shape = random_shape(case, 0)
        mine = randomised(LayerNorm(shape[1], 1e-4), case)
        assert_same_function(
            mine, randomised(nn.LayerNorm(shape[1], eps=1e-4), case), scaled_input(shape, case), case
        )


def test_tokens_are_normalised_one_by_one_over_the_last_dimension() -> None:
    for case in range(100):
        shape = random_shape(case, 1)
        mine = randomised(LayerNorm(shape[1], 1e-3, tokens=True), case)
        reference = randomised(nn.LayerNorm(shape[1], eps=1e-3), case)
        x = scaled_input(shape, case)
        torch.testing.assert_close(mine(x).movedim(1, -1), reference(x.movedim(1, -1)))
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    net, x = open_net(model, torch.zeros(2, 4, 3)), torch.randn(2, 4, 3)
    expected = model[2](F.layer_norm(model[0](x), (5,)).tanh())
    registry().code("layer_norm").model(net, SimpleNamespace(on=True, eps=1e-5))
    torch.testing.assert_close(net.module(x), expected)


@pytest.mark.parametrize(("units", "touched"), [(1, {}), (2, {"layer_norm": 1})])
def test_a_single_unit_would_always_be_the_shift_and_two_are_enough(
    units: int, touched: dict[str, int]
) -> None:
    module = nn.Sequential(nn.Linear(3, units), nn.Tanh(), nn.Linear(units, 2))
    net = open_net(module, torch.zeros(2, 3))
    registry().code("layer_norm").model(net, SimpleNamespace(on=True, eps=1e-5))
    assert net.touched == touched


def test_equal_to_the_formula_in_loops() -> None:
    for case in range(100):
        batch, channels, length = shape = random_shape(case, 1)
        x, mine = scaled_input(shape, case), randomised(LayerNorm(shape[1], 1e-3), case)
        y = mine(x).tolist()
        for b in range(batch):
            values = x[b].flatten().tolist()
            mean = math.fsum(values) / len(values)
            sigma = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values) + 1e-3)
            for c in range(channels):
                gain, shift = mine.weight[c].item(), mine.bias[c].item()
                for i in range(length):
                    expected = gain * (x[b, c, i].item() - mean) / sigma + shift
                    assert y[b][c][i] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_every_hidden_layer_is_normalised_and_off_is_the_model() -> None:
    for name, count in (("cnn", 3), ("mlp", 3), ("functional", 1), ("own_norm", 2), ("shared", 2)):
        net = operated("layer_norm", name)
        assert net.touched["layer_norm"] == count
        torch.manual_seed(0)
        plain, x = MODELS[name][0](), inputs(name, 6)
        assert torch.equal(operated("layer_norm", name, on=False).module(x), plain(x))
        assert not torch.allclose(net.module(x), plain(x))
        alone = net.module.eval()(x[:1])
        torch.testing.assert_close(alone, net.module(x)[:1])  # independent of the batch


@pytest.mark.parametrize(
    ("name", "kernel"), diagonal(["cnn", "mlp", "own_norm"], ["loop", "vmap", "batched", "compiled"], 2)
)
def test_lanes_equal_alone(name: str, kernel: str) -> None:
    recipes = [{"layer_norm": True}, {}, {"layer_norm": {"eps": 0.5}}, {"group_norm": {"groups": 2}}]
    assert_lanes_equal_alone(name, recipes, kernel)
