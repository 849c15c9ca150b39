"""Activation functions against Python's math, and where they are put."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from model_cases import MODELS, assert_lanes_equal_alone, inputs, operated
from sweep import diagonal
from torch import nn

from ablate.catalogue.model.activation import KINDS, TRICK
from ablate.catalogue.registry import registry
from ablate.surgery.net import open_net
from ablate.surgery.switch import Switch


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def gauss(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


FORMULAS: Mapping[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "relu": (lambda x: max(0.0, x), lambda x: float(x > 0)),
    "leaky_relu": (lambda x: x if x > 0 else x / 100, lambda x: 1.0 if x > 0 else 0.01),
    "gelu": (
        lambda x: x * gauss(x),
        lambda x: gauss(x) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    ),
    "silu": (lambda x: x * logistic(x), lambda x: logistic(x) * (1 + x * (1 - logistic(x)))),
    "tanh": (math.tanh, lambda x: 1 / math.cosh(x) ** 2),
    "sigmoid": (logistic, lambda x: logistic(x) * (1 - logistic(x))),
}


@pytest.mark.parametrize("kind", sorted(FORMULAS))
def test_value_and_slope_are_the_formulas(kind: str) -> None:
    value, slope = FORMULAS[kind]
    x = torch.randn(300, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 4
    x.requires_grad_()
    y = KINDS[kind]()(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    for number, out, back in zip(x.tolist(), y.tolist(), gradient.tolist(), strict=True):
        assert out == pytest.approx(value(number), rel=1e-9, abs=1e-12)
        assert back == pytest.approx(slope(number), rel=1e-9, abs=1e-12)


def test_the_record_names_what_there_is() -> None:
    assert tuple(KINDS) == TRICK.parameter("kind").choices


@pytest.mark.parametrize("kind", sorted(FORMULAS))
def test_the_models_activations_are_replaced(kind: str) -> None:
    for name, count in (("cnn", 3), ("mlp", 3), ("own_norm", 2), ("shared", 1), ("functional", 1)):
        net = operated("activation", name, kind=kind)
        assert net.touched.get("activation", 0) == (0 if kind == "relu" else count), "they are ReLUs already"
        assert net.redundant == {"activation": {"kind": ["relu"]}}
        seen: list[nn.Module] = []
        for module in net.module.modules():
            if isinstance(module, type(KINDS[kind]())):
                module.register_forward_hook(lambda module, x, y, seen=seen: seen.append(module))
        x = inputs(name, 3)
        net.module(x)
        assert len(seen) == {"shared": 4}.get(name, count)
        torch.manual_seed(0)
        plain = MODELS[name][0]()
        off = operated("activation", name, kind=kind, on=False).module
        assert torch.equal(off(x), plain(x))
        assert torch.allclose(net.module(x), plain(x)) == (kind == "relu")


def test_output_activations_and_gates_are_left_alone() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.gate, self.head = nn.Linear(5, 6), nn.Linear(5, 6), nn.Linear(6, 3)
            self.act, self.sigmoid, self.end = nn.ReLU(), nn.Sigmoid(), nn.Tanh()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.end(self.head(self.act(self.first(x)) * self.sigmoid(self.gate(x))))

    net = open_net(Gated(), torch.zeros(2, 5))
    registry().code("activation").model(net, SimpleNamespace(on=True, kind="gelu"))
    assert net.touched["activation"] == 1
    assert isinstance(net.module.act, Switch)
    assert isinstance(net.module.act.chosen, nn.GELU)
    assert isinstance(net.module.sigmoid.chosen, nn.Sigmoid)
    assert isinstance(net.module.end.chosen, nn.Tanh)
    old = nn.Sequential(nn.Linear(5, 6), nn.Sigmoid(), nn.Linear(6, 3))
    net = open_net(old, torch.zeros(2, 5))
    registry().code("activation").model(net, SimpleNamespace(on=True, kind="relu"))
    assert isinstance(old[1].chosen, nn.ReLU), "a model of sigmoids only has no gates"


def test_a_function_in_a_forward_that_cannot_be_traced_is_not_applicable() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(5, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(F.dropout(F.relu(self.first(x)), 0.5, self.training))

    net = open_net(Dropping(), torch.zeros(2, 5))
    registry().code("activation").model(net, SimpleNamespace(on=True, kind="gelu"))
    assert "activation" not in net.touched
    assert net.left["activation"] == {("F.relu in Dropping", "out of reach"): 1}


@pytest.mark.parametrize(
    ("name", "kernel"),
    diagonal(["cnn", "mlp", "own_norm", "shared", "functional"], ["loop", "vmap", "batched", "compiled"], 0),
)
def test_lanes_equal_alone(name: str, kernel: str) -> None:
    kinds = [kind for kind in KINDS if kind != "relu"]
    recipes = [{}, *({"activation": {"kind": kind}} for kind in kinds), {"activation": True, "dropout": True}]
    assert_lanes_equal_alone(name, recipes, kernel)
