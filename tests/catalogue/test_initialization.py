"""Initialisation: what each scheme promises of the weights, in float64, and the flaw of equal weights."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from model_cases import MODELS, assert_lanes_equal_alone, context_of, inputs, operated
from sweep import diagonal
from torch import Generator, nn

from ablate.catalogue.model.initialization import TRICK, draw
from ablate.catalogue.registry import registry
from ablate.lanes.trainer import Trainer
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.surgery.layer_types import AFFINE
from ablate.surgery.net import open_net

SCHEMES = TRICK.parameter("scheme").choices


def drawn(scheme: str, shape: tuple[int, ...], gain: float, seed: int) -> np.ndarray:
    weight = torch.full(shape, math.nan, dtype=torch.float64)
    draw(weight, scheme, gain, Generator().manual_seed(seed))
    return weight.numpy()


def random_case(case: int) -> tuple[tuple[int, ...], float, int, int]:
    """(shape, gain, fan in, fan out) of a linear layer or a convolution."""
    rng = random.Random(case)
    out, inside = rng.randint(4, 40), rng.randint(4, 40)
    kernel = [(), (3,), (3, 3), (2, 1, 3)][case % 4]
    taps = int(np.prod(kernel, initial=1))
    return (out, inside, *kernel), math.exp(rng.uniform(-2, 2)), inside * taps, out * taps


def test_constant_and_zero() -> None:
    for case in range(100):
        shape, gain, _, _ = random_case(case)
        np.testing.assert_allclose(drawn("constant", shape, gain, case), np.full(shape, 0.01 * gain))
        assert not drawn("zero", shape, gain, case).any()


@pytest.mark.parametrize("scheme", ["normal", "kaiming", "xavier"])
def test_the_distribution_of_the_weights(scheme: str) -> None:
    """Standardised by the paper's own deviation, 100 layers' weights together follow the distribution."""
    together = []
    for case in range(120):
        shape, gain, fan_in, fan_out = random_case(case)
        deviation = {
            "normal": 0.01 * gain,
            "kaiming": gain * math.sqrt(2 / fan_in),
            "xavier": gain * math.sqrt(2 / (fan_in + fan_out)),
        }[scheme]
        values = drawn(scheme, shape, gain, case).ravel() / deviation
        assert abs(values.mean()) < 5 / math.sqrt(values.size)
        assert abs((values**2).mean() - 1) < 5 * math.sqrt(2 / values.size)
        if scheme == "xavier":
            assert abs(values).max() <= math.sqrt(3) * (1 + 1e-12)
        together.append(values)
    ordered = np.sort(np.concatenate(together))
    if scheme == "xavier":
        expected = np.clip((ordered / math.sqrt(3) + 1) / 2, 0, 1)
    else:
        expected = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in ordered])
    steps = (np.arange(ordered.size) + 0.5) / ordered.size
    assert abs(expected - steps).max() < 1.95 / math.sqrt(ordered.size)  # Kolmogorov and Smirnov, 0.1 %


def test_orthogonal_rows_or_columns() -> None:
    for case in range(100):
        shape, gain, _, _ = random_case(case)
        matrix = drawn("orthogonal", shape, gain, case).reshape(shape[0], -1)
        small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        np.testing.assert_allclose(small @ small.T / gain**2, np.eye(len(small)), atol=1e-12)


def test_gain_multiplies_and_the_generator_decides() -> None:
    for scheme in SCHEMES:
        one, three = drawn(scheme, (6, 5), 1.0, 4), drawn(scheme, (6, 5), 3.0, 4)
        np.testing.assert_allclose(three, 3 * one)
        if scheme not in ("constant", "zero"):
            assert not np.allclose(one, drawn(scheme, (6, 5), 1.0, 5))
    before = torch.random.get_rng_state()
    drawn("orthogonal", (6, 5), 1.0, 4)
    assert torch.equal(before, torch.random.get_rng_state())


def test_runs_of_different_seeds_have_different_weights() -> None:
    net, first = open_net(MODELS["functional"][0](), inputs("functional", 2)), set()
    for seed in range(100):
        p = SimpleNamespace(on=True, scheme="normal", gain=1.0, generator=Generator().manual_seed(seed))
        registry().code("initialization").model(net, p)
        first.add(net.module.first.weight[0, 0].item())
    assert len(first) == 100


@pytest.mark.parametrize("name", sorted(MODELS))
def test_all_affine_layers_and_nothing_else(name: str) -> None:
    torch.manual_seed(0)
    plain = dict(MODELS[name][0]().named_parameters())
    net = operated("initialization", name, scheme="normal", gain=1.0)
    affine = [path for path, module in net.module.named_modules() if isinstance(module, AFFINE)]
    assert net.touched["initialization"] == len(affine)
    for parameter, value in net.module.named_parameters():
        owner, _, kind = parameter.rpartition(".")
        if owner not in affine:
            assert torch.equal(value, plain[net.common_name(parameter)])
        elif kind == "bias":
            assert not value.any()
        else:
            assert 0 < value.abs().max() < 0.06
    weights = [module.weight.flatten()[:4] for module in net.module.modules() if isinstance(module, AFFINE)]
    assert all(not torch.equal(weights[0], other) for other in weights[1:]), "layers are drawn by themselves"
    off = operated("initialization", name, on=False)
    assert all(torch.equal(value, plain[net.common_name(n)]) for n, value in off.module.named_parameters())


def trained(name: str, scheme: str, **others: object) -> Trainer:
    context = context_of(name)
    settings = {"momentum": {"lr": 0.1}, "initialization": {"scheme": scheme, "gain": 10.0}, **others}
    trainer = Trainer(context, [Run(context.task.name, Recipe.of(registry(), settings), 0, 3)])
    for _ in range(12):
        trainer.step()
    return trainer


def test_constant_weights_leave_all_units_of_a_layer_equal() -> None:
    trainer = trained("mlp", "constant")
    start = operated("initialization", "mlp", scheme="constant", gain=10.0).module[0].weight
    for name in ("0.weight", "2.weight", "4.weight"):
        units = trainer.weights[name][0]
        assert torch.equal(units, units[:1].expand_as(units)), name
    assert not torch.equal(trainer.weights["0.weight"][0], start), "they do learn, but all the same"
    other = trained("mlp", "kaiming").weights["2.weight"][0]
    assert (other - other[:1]).abs().max() > 0.01


def test_zero_weights_teach_the_heads_bias_only() -> None:
    trainer = trained("mlp", "zero")
    learned = {name for name in trainer.weights if trainer.weights[name].any()}
    assert learned == {"6.bias"}


def test_a_layer_that_surgery_put_in_place_of_one_is_drawn_too() -> None:
    net = open_net(MODELS["mlp"][0](), inputs("mlp", 2))
    place = net.hidden()[1]
    net.site(place).layer = nn.Sequential(nn.Linear(7, 2), nn.Linear(2, 7))
    code = registry().code("initialization")
    assert [name for name, _ in code.affine_layers(net)] == ["0/", "2/0", "2/1", "4/", "6/"]


@pytest.mark.parametrize(
    ("name", "kernel"),
    diagonal(["cnn", "mlp", "own_norm", "shared"], ["loop", "vmap", "batched", "compiled"], 0),
)
def test_lanes_equal_alone(name: str, kernel: str) -> None:
    norm = "group_norm" if name == "own_norm" else "batch_norm"  # it has batch norms already
    recipes = [
        {},
        *({"initialization": {"scheme": scheme, "gain": 3.0}} for scheme in SCHEMES),
        {"initialization": True, norm: True},
    ]
    assert_lanes_equal_alone(name, recipes, kernel)
