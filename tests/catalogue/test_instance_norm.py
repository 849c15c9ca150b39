"""Instance normalisation against `nn.InstanceNorm*d` and against plain loops, in float64."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from model_cases import (
    MODELS,
    assert_lanes_equal_alone,
    assert_same_function,
    context_of,
    inputs,
    operated,
    random_shape,
    randomised,
    scaled_input,
)
from sweep import diagonal
from torch import nn

from ablate.catalogue.registry import registry
from ablate.lanes.applicable import applicable
from ablate.surgery.net import open_net
from ablate.surgery.norms import InstanceNorm

TORCH = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def test_equal_to_torch() -> None:
    for case in range(120):
        shape, eps = random_shape(case, 1 + case % 3), 10.0 ** -(1 + case % 6)
        mine = randomised(InstanceNorm(shape[1], eps), case)
        reference = randomised(TORCH[case % 3](shape[1], eps=eps, affine=True), case)
        assert_same_function(mine, reference, scaled_input(shape, case), case)
        assert_same_function(mine.eval(), reference.eval(), scaled_input(shape, case), case)


def test_equal_to_the_formula_in_loops() -> None:
    for case in range(100):
        batch, channels, length = shape = random_shape(case, 1)
        x, mine = scaled_input(shape, case), randomised(InstanceNorm(shape[1], 1e-3), case)
        y = mine(x).tolist()
        for b in range(batch):
            for c in range(channels):
                values = x[b, c].tolist()
                mean = math.fsum(values) / length
                sigma = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / length + 1e-3)
                for i, value in enumerate(values):
                    expected = mine.weight[c].item() * (value - mean) / sigma + mine.bias[c].item()
                    assert y[b][c][i] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_contrast_and_brightness_of_a_feature_map_do_not_matter() -> None:
    layer, x = randomised(InstanceNorm(4, 0.0), 0), scaled_input((3, 4, 5, 5), 0)
    torch.testing.assert_close(layer(x), layer(7 * x + 2))


def test_dense_layers_are_left_alone() -> None:
    net = operated("instance_norm", "cnn")
    assert net.touched["instance_norm"] == 2
    assert [place.path for place, site in net.sites() if site.norm is not None and site.norm.branches] == [
        "0",
        "2",
    ]
    assert operated("instance_norm", "own_norm").touched["instance_norm"] == 2
    for name in ("cnn", "own_norm"):
        torch.manual_seed(0)
        plain, x = MODELS[name][0](), inputs(name, 6)
        assert torch.equal(operated("instance_norm", name, on=False).module(x), plain(x))
        assert not torch.allclose(operated("instance_norm", name).module(x), plain(x))


@pytest.mark.parametrize(("width", "touched"), [(3, {}), (4, {"instance_norm": 1})])
def test_two_positions_are_enough(width: int, touched: dict[str, int]) -> None:
    """Images of 3 × `width` become maps of 1 × (width − 2)."""
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * (width - 2), 2))
    net = open_net(module, torch.zeros(2, 1, 3, width))
    registry().code("instance_norm").model(net, SimpleNamespace(on=True, eps=1e-5))
    assert net.touched == touched


def test_a_model_without_feature_maps_is_not_applicable() -> None:
    assert applicable(context_of("mlp"), ["instance_norm"])["instance_norm"]
    assert "instance_norm" not in operated("instance_norm", "mlp").touched
    assert not applicable(context_of("cnn"), ["instance_norm"])["instance_norm"]


@pytest.mark.parametrize(
    ("name", "kernel"), diagonal(["cnn", "own_norm"], ["loop", "vmap", "batched", "compiled"], 1)
)
def test_lanes_equal_alone(name: str, kernel: str) -> None:
    other = "layer_norm" if name == "own_norm" else "batch_norm"  # it has batch norms already
    recipes = [{"instance_norm": True}, {}, {"instance_norm": {"eps": 0.5}}, {other: True}]
    assert_lanes_equal_alone(name, recipes, kernel)
