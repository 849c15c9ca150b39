"""Group normalisation against `nn.GroupNorm` and against plain loops, in float64."""

from __future__ import annotations

import math

import pytest
import torch
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
from torch import nn

from ablate.catalogue.model.group_norm import group_count
from ablate.surgery.norms import GroupNorm


def test_equal_to_torch() -> None:
    for case in range(120):
        batch, half, *rest = random_shape(case, case % 4)
        shape, groups, eps = (batch, 2 * half, *rest), (1, 2, half)[case % 3], 10.0 ** -(1 + case % 6)
        mine = randomised(GroupNorm(2 * half, groups, eps), case)
        reference = randomised(nn.GroupNorm(groups, 2 * half, eps=eps), case)
        assert_same_function(mine, reference, scaled_input(shape, case), case)
        assert_same_function(mine.eval(), reference.eval(), scaled_input(shape, case), case)


def test_equal_to_the_formula_in_loops() -> None:
    for case in range(100):
        batch, half, length = random_shape(case, 1)
        channels, groups = 2 * half, (2, half)[case % 2]
        x = scaled_input((batch, channels, length), case)
        mine = randomised(GroupNorm(channels, groups, 1e-3), case)
        y = mine(x).tolist()
        for b in range(batch):
            for c in range(channels):
                size = channels // groups
                members = range(c // size * size, c // size * size + size)
                values = [x[b, member, i].item() for member in members for i in range(length)]
                mean = math.fsum(values) / len(values)
                sigma = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values) + 1e-3)
                for i in range(length):
                    expected = (
                        mine.weight[c].item() * (x[b, c, i].item() - mean) / sigma + mine.bias[c].item()
                    )
                    assert y[b][c][i] == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("channels", "positions", "groups", "expected"),
    [
        (16, 64, 8, 8), (6, 9, 8, 6), (6, 9, 4, 3), (7, 9, 4, 1), (16, 1, 32, 8),
        (6, 1, 8, 3), (7, 1, 8, 1), (2, 1, 2, 1), (1, 1, 8, 0), (1, 4, 8, 1),
    ],
)  # fmt: skip
def test_the_largest_divisor_with_two_values_in_a_group(
    channels: int, positions: int, groups: int, expected: int
) -> None:
    assert group_count(channels, positions, groups) == expected


def test_groups_of_dense_layers_have_two_units_at_least() -> None:
    """Seven, seven and four units: eight groups are asked for."""
    layers = [m for m in operated("group_norm", "mlp", groups=8).module.modules() if isinstance(m, GroupNorm)]
    assert [layer.groups for layer in layers] == [1, 1, 2]


def test_every_hidden_layer_is_normalised_and_off_is_the_model() -> None:
    for name, count in (("cnn", 3), ("mlp", 3), ("functional", 1), ("own_norm", 2), ("shared", 2)):
        net = operated("group_norm", name)
        assert net.touched["group_norm"] == count
        torch.manual_seed(0)
        plain, x = MODELS[name][0](), inputs(name, 6)
        assert torch.equal(operated("group_norm", name, on=False).module(x), plain(x))
        assert not torch.allclose(net.module(x), plain(x))
        torch.testing.assert_close(net.module.eval()(x[:1]), net.module(x)[:1])


@pytest.mark.parametrize(
    ("name", "kernel"), diagonal(["cnn", "mlp", "own_norm"], ["loop", "vmap", "batched", "compiled"], 3)
)
def test_lanes_equal_alone(name: str, kernel: str) -> None:
    other = "layer_norm" if name == "own_norm" else "batch_norm"  # it has batch norms already
    recipes = [{"group_norm": {"groups": 2}}, {}, {"group_norm": {"groups": 8}}, {other: True}]
    assert_lanes_equal_alone(name, recipes, kernel)
