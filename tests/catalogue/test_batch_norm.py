"""Batch normalisation against torch's modules and against plain loops, in float64."""

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
from ablate.lanes.context import TaskContext
from ablate.lanes.trainer import Trainer
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.surgery.net import open_net
from ablate.surgery.norms import BatchNorm
from ablate.tasks.load import load

TORCH = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def test_equal_to_torch_in_training_and_evaluation() -> None:
    for case in range(120):
        shape = random_shape(case, case % 4)
        momentum, eps = 0.02 + case / 300, 10.0 ** -(1 + case % 6)
        mine = randomised(BatchNorm(shape[1], momentum, eps), case)
        reference = randomised(TORCH[case % 4](shape[1], eps=eps, momentum=momentum), case)
        for step in range(3):
            assert_same_function(mine, reference, scaled_input(shape, 1000 * step + case), case)
        torch.testing.assert_close(mine.running_mean, reference.running_mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(mine.running_var, reference.running_var, rtol=1e-12, atol=1e-12)
        assert_same_function(mine.eval(), reference.eval(), scaled_input(shape, case + 7), case)


def test_equal_to_algorithm_1_of_the_paper_in_loops() -> None:
    for case in range(100):
        batch, channels, length = shape = random_shape(case, 1)
        x, mine = scaled_input(shape, case), randomised(BatchNorm(shape[1], 0.3, 1e-3), case)
        y = mine(x).tolist()
        for c in range(channels):
            values = [x[b, c, i].item() for b in range(batch) for i in range(length)]
            mean = math.fsum(values) / len(values)
            squares = math.fsum((value - mean) ** 2 for value in values)
            sigma = math.sqrt(squares / len(values) + 1e-3)
            for b in range(batch):
                for i in range(length):
                    standard = (x[b, c, i].item() - mean) / sigma
                    expected = mine.weight[c].item() * standard + mine.bias[c].item()
                    assert y[b][c][i] == pytest.approx(expected, rel=1e-9, abs=1e-9)
            assert mine.running_mean[c].item() == pytest.approx(0.3 * mean)
            assert mine.running_var[c].item() == pytest.approx(0.7 + 0.3 * squares / (len(values) - 1))


def test_one_value_per_channel_is_refused_in_training_only() -> None:
    layer = BatchNorm(3, 0.1, 1e-5)
    with pytest.raises(InputError, match="one value per channel"):
        layer(torch.randn(1, 3))
    assert layer.eval()(torch.randn(1, 3)).shape == (1, 3)
    assert layer.train()(torch.randn(1, 3, 2)).shape == (1, 3, 2)


def test_a_model_without_norms_gets_them_before_the_non_linearity_and_loses_the_biases() -> None:
    for name, hidden in (("cnn", 3), ("mlp", 3), ("functional", 1), ("shared", 2)):
        net = operated("batch_norm", name)
        assert net.touched["batch_norm"] == hidden
        x = inputs(name, 64)
        for place, site in net.sites():
            shape = (1, -1, *[1] * (len(place.output) - 2))
            outputs: list[torch.Tensor] = []
            handle = site.register_forward_hook(
                lambda module, args, y, outputs=outputs: outputs.append(y.clone())
            )
            net.module.train()(x)
            handle.remove()
            dims = [d for d in range(outputs[0].ndim) if d != 1]
            assert outputs[0].mean(dim=dims).abs().max() < 1e-5, "normalised output leaves the site"
            standing = outputs[0]
            site.layer.bias.data += 100 * torch.arange(1, site.layer.bias.numel() + 1)
            again: list[torch.Tensor] = []
            handle = site.register_forward_hook(lambda module, args, y, again=again: again.append(y.clone()))
            net.module.train()(x)
            handle.remove()
            assert torch.equal(standing, again[0]), f"the bias still acts ({shape})"


def test_own_norm_layers_are_replaced_where_they_stand() -> None:
    net = operated("batch_norm", "group_normed", momentum=0.1, eps=1e-5)
    assert net.touched["batch_norm"] == 2
    torch.manual_seed(0)
    plain = MODELS["group_normed"][0]()
    assert {spec.name for spec in net.specs().values()} > {name for name, _ in plain.named_parameters()}
    torch.manual_seed(0)
    twin, x = MODELS["own_norm"][0](), inputs("group_normed", 8)  # the same model with torch's batch norms
    assert not torch.allclose(net.module(x), plain(x))
    torch.testing.assert_close(net.module(x), twin(x), rtol=1e-5, atol=1e-6)
    changed = operated("batch_norm", "group_normed", eps=0.1)
    assert not torch.allclose(changed.module(x), twin(x))


def test_batch_norms_that_the_model_has_are_left_as_they_are() -> None:
    net = operated("batch_norm", "own_norm", eps=0.1)
    assert "batch_norm" not in net.touched
    assert net.left["batch_norm"] == {("BatchNorm2d", "already"): 2}
    torch.manual_seed(0)
    plain, x = MODELS["own_norm"][0](), inputs("own_norm", 8)
    torch.testing.assert_close(net.module(x), plain(x), rtol=1e-5, atol=1e-6)
    assert "2 BatchNorm2d already" in applicable(context_of("own_norm"), ["batch_norm"])["batch_norm"]


def test_off_is_the_model_bit_for_bit() -> None:
    for name in MODELS:
        torch.manual_seed(0)
        plain, x = MODELS[name][0](), inputs(name, 6)
        assert torch.equal(operated("batch_norm", name, on=False).module(x), plain(x))


def test_an_impossible_momentum_is_refused_before_the_model_is_touched() -> None:
    net = open_net(MODELS["mlp"][0](), inputs("mlp", 2))
    before = list(net.module.modules())
    with pytest.raises(InputError, match="momentum"):
        registry().code("batch_norm").model(net, SimpleNamespace(on=True, momentum=1.5, eps=1e-5))
    assert list(net.module.modules()) == before
    registry().code("batch_norm").model(net, SimpleNamespace(on=True, momentum=1.0, eps=1e-5))


@pytest.mark.parametrize("kernel", ["loop", "vmap", "batched", "compiled"])
@pytest.mark.parametrize("lanes", [1, 2])
def test_every_kernel_refuses_one_value_a_channel(kernel: str, lanes: int) -> None:
    task = load("breast-cancer").but(batch_size=1)
    recipe = Recipe.of(
        registry(), {"momentum": {"lr": 0.1, "momentum": 0.9, "nesterov": False}, "batch_norm": {}}
    )
    context = TaskContext.of(task, registry(), torch.device("cpu"), kernel)
    trainer = Trainer(context, [Run(task.name, recipe, seed, 1) for seed in range(lanes)])
    with pytest.raises(InputError, match="one value per channel"):
        trainer.step()


@pytest.mark.parametrize(
    ("name", "kernel"),
    diagonal(["cnn", "mlp", "group_normed", "shared"], ["loop", "vmap", "batched", "compiled"], 1),
)
def test_lanes_equal_alone(name: str, kernel: str) -> None:
    recipes = [
        {"batch_norm": {"momentum": 0.1}},
        {},
        {"batch_norm": {"momentum": 0.4, "eps": 0.1}},
        {"layer_norm": True},
        {"batch_norm": True, "dropout": True},
    ]
    assert_lanes_equal_alone(name, recipes, kernel)
