"""Activation functions in people's own `forward`s: replaced where layers follow, left alone at outputs, gates and where fx cannot trace."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ablate.catalogue.registry import registry
from ablate.surgery.inventory import inventory
from ablate.surgery.net import Net, open_net
from ablate.surgery.observe import observe
from ablate.surgery.rewrite import graph_of

X = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    def __init__(self, channels: int, act) -> None:
        super().__init__()
        self.one, self.two = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.two(self.act(self.one(x))))


class Net3(nn.Module):
    """A ReLU after each layer, and one behind the head."""

    def __init__(self, act=F.relu, last=F.relu) -> None:
        super().__init__()
        self.stem, self.block, self.head = nn.Conv2d(2, 4, 3), Block(4, act), nn.Linear(4, 3)
        self.act, self.last = act, last

    def forward(self, x: Tensor) -> Tensor:
        h = self.block(self.act(self.stem(x)))
        return self.last(self.head(h.mean((2, 3))))


def made(**settings) -> nn.Module:
    torch.manual_seed(0)
    return Net3(**settings)


def operated(module: nn.Module, x: Tensor, kind: str, on: bool = True) -> Net:
    net = open_net(module, x)
    registry().code("activation").model(net, SimpleNamespace(on=on, kind=kind))
    return net


def method(x: Tensor) -> Tensor:
    return x.relu()


def in_place(x: Tensor) -> Tensor:
    return F.relu(x, inplace=True)


@pytest.mark.parametrize("act", [F.relu, torch.relu, method, in_place, F.leaky_relu, F.silu])
def test_functions_between_layers_are_replaced_and_the_output_is_not(act):
    net = operated(made(act=act), X, "gelu")
    assert net.touched == {"activation": 3}
    torch.testing.assert_close(net.module(X), made(act=F.gelu)(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("act", [F.relu, in_place, F.gelu])
def test_switched_off_it_is_the_users_network_bit_for_bit(act):
    off, plain = operated(made(act=act), X, "silu", on=False).module, made(act=act)
    y, expected = off(X), plain(X)
    assert torch.equal(y, expected)
    gradients = [
        torch.autograd.grad(out.sum(), list(one.parameters())) for out, one in ((y, off), (expected, plain))
    ]
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(*gradients, strict=True))
    assert [name for name, _ in off.named_parameters()] == [name for name, _ in plain.named_parameters()]


def test_settings_of_a_function_are_its_layers():
    def approximate(x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")

    net = operated(made(act=approximate), X, "gelu")
    assert net.touched == {"activation": 3}, "the exact one is another function"
    torch.testing.assert_close(net.module(X), made(act=F.gelu)(X), rtol=1e-5, atol=1e-6)


def test_gates_are_left_alone():
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value, self.gate, self.head = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.relu(self.value(x)) * torch.sigmoid(self.gate(x)) + torch.tanh(self.gate(x)))

    torch.manual_seed(0)
    net = operated(Gated(), torch.randn(3, 4), "silu")
    assert net.touched == {"activation": 1}


def test_a_value_that_is_written_over_and_read_again_is_left_alone():
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(4, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x) * 1.0
            return self.head(F.relu(h, inplace=True) + h)

    torch.manual_seed(0)
    net = operated(Written(), torch.randn(3, 4), "silu")
    assert net.touched == {}
    assert net.left["activation"] == {("F.relu in Written", "out of reach"): 1}


def test_what_is_within_reach_is_listed_as_the_models_own():
    module = made()
    assert inventory(module, observe(module, X)).text() == (
        "1 F.relu in Net3, 2 F.relu in Block, 1 residual addition; out of reach: 1 F.relu in Net3"
    )


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(4, 5), nn.Linear(5, 2)
        self.register_buffer("mean", torch.zeros(5))


class OtherWeights(Base):
    def forward(self, x: Tensor) -> Tensor:
        halved = {name: 0.5 * tensor for name, tensor in self.first.named_parameters()}
        return self.head(F.relu(functional_call(self.first, halved, (x,))))


class WithoutGradient(Base):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            h = F.relu(self.first(x))
        return self.head(h)


class Autocast(Base):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            h = F.relu(self.first(x))
        return self.head(h.float())


class Writes(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first(x))
        self.mean.mul_(0.9).add_(0.1)
        return self.head(h)


class Replaces(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first(x))
        self.mean = 0.9 * self.mean + 0.1 * h.mean(0)
        return self.head(h)


class Throws(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first(x))
        return self.head(h if random.random() < 2 else -h)


@pytest.mark.parametrize("kind", [OtherWeights, WithoutGradient, Autocast, Writes, Replaces, Throws])
def test_what_a_trace_would_lose_is_left_alone_and_nothing_is_changed(kind):
    """A graph has no contexts, no tensors put in for a call, and no side effects."""
    torch.manual_seed(0)
    module = kind()
    state = {name: (value.clone(), value) for name, value in module.state_dict(keep_vars=True).items()}
    assert graph_of(module) is None
    for name, now in module.state_dict(keep_vars=True).items():
        before, same = state[name]
        assert now is same
        assert torch.equal(now, before)
    net = operated(module, torch.randn(3, 4), "silu")
    assert "activation" not in net.touched
