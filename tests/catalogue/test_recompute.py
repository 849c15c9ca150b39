"""Recomputation: outputs, gradients and buffers equal to those of the model as it was, bit for bit."""

from __future__ import annotations

import random
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from sweep import diagonal, sweep
from torch import nn
from torch.utils.checkpoint import checkpoint_sequential

from ablate.catalogue.precision.recompute import model
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.vmapped import vmapped
from ablate.lanes.context import TaskContext
from ablate.surgery.layers import Dropout
from ablate.surgery.net import open_net
from ablate.surgery.recompute import Recomputing, cut
from ablate.surgery.switch import Switch
from ablate.testing import advance, suite

CPU = torch.device("cpu")
OTHERS = ({}, {"fgsm": {}}, {"amp": {"dtype": "float16"}}, {"amp": {"dtype": "bfloat16"}})


def network(seed, *, width=6):
    """A random sequence of linear and pointwise layers, norms, counter-based dropout and nested sequences."""
    draw = random.Random(seed)

    def switch():
        layer = Switch(nn.BatchNorm1d(width))
        layer.add("layer_norm", nn.LayerNorm(width), on=draw.random() < 0.5)
        return layer

    kinds = [
        lambda: nn.Linear(width, width),
        lambda: nn.Linear(width, width),
        lambda: nn.Tanh(),
        lambda: (nn.Linear(width, width), nn.LeakyReLU(0.2, inplace=True)),  # may be cut between
        lambda: nn.BatchNorm1d(width),
        lambda: Dropout(0.3, f"model/{draw.random()}"),
        lambda: nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width, bias=False)),
        lambda: nn.Flatten(),
        switch,
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = [draw.choice(kinds)() for _ in range(draw.randint(2, 9))]
        layers = [layer for some in drawn for layer in (some if isinstance(some, tuple) else (some,))]
        return nn.Sequential(*layers, nn.Linear(width, 3)), draw.randint(1, 5)


def alone(module, x):
    """(outputs, gradients, buffers) of one model."""
    x = x.clone().requires_grad_()
    outputs = module(x)
    gradients = torch.autograd.grad(outputs.square().sum(), [x, *module.parameters()], allow_unused=True)
    return outputs, gradients, list(module.buffers())


def as_lanes(modules, x):
    """The same for several models of one form, vmapped as the engine does."""
    x = x.clone().requires_grad_()
    weights = {
        name: torch.stack(
            [dict(module.named_parameters())[name].detach() for module in modules]
        ).requires_grad_()
        for name, _ in modules[0].named_parameters()
    }
    buffers = {
        name: torch.stack([dict(module.named_buffers())[name] for module in modules])
        for name, _ in modules[0].named_buffers()
    }
    with binding_of(modules[0]).bound({**weights, **buffers}):
        outputs = vmapped(modules[0], x)
    gradients = torch.autograd.grad(outputs.square().sum(), [x, *weights.values()], allow_unused=True)
    return outputs, gradients, list(buffers.values())


def assert_equal(one, other):
    assert torch.equal(one[0], other[0])
    for first, second in zip(one[1] + tuple(one[2]), other[1] + tuple(other[2]), strict=True):
        assert (first is None and second is None) or torch.equal(first, second)


@sweep("seed", range(100))
def test_equal_to_the_plain_model(seed):
    plain, size = network(seed)
    again, segments = cut(deepcopy(plain), size)
    assert segments == sum(len(m.segments()) for m in again.modules() if isinstance(m, Recomputing)) > 0
    if len(plain) > size:
        assert segments == -(-len(plain) // size)
    assert [name for name, _ in again.named_parameters()] == [name for name, _ in plain.named_parameters()]
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(seed))
    for _ in range(2):  # the second time from the buffers of the first
        assert_equal(alone(plain, x), alone(again, x))


@sweep("seed", range(0, 100, 2))
def test_equal_to_the_plain_model_under_vmap(seed):
    lanes = [network(seed)[0] for _ in range(3)]
    for lane, module in enumerate(lanes):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(
                    torch.randn(parameter.shape, generator=torch.Generator().manual_seed(lane)), alpha=0.1
                )
    size = network(seed)[1]
    x = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(seed))
    again = [cut(deepcopy(module), size)[0] for module in lanes]
    assert_equal(as_lanes(lanes, x), as_lanes(again, x))


@pytest.mark.parametrize("segments", [1, 2, 4])
def test_equal_to_torchs_checkpointing(segments):
    module = nn.Sequential(*[layer for _ in range(4) for layer in (nn.Linear(6, 6), nn.Tanh())])
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))
    given = x.clone().requires_grad_()
    outputs = checkpoint_sequential(module, segments, given, use_reentrant=False)
    gradients = torch.autograd.grad(outputs.square().sum(), [given, *module.parameters()])
    again, _ = cut(deepcopy(module), len(module) // segments)
    assert_equal((outputs, gradients, []), alone(again, x))


class DrawsFromTorch(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.4, self.training)


class Power(nn.Module):
    """A layer that depends on a buffer which it changes: a second run from the changed one would differ."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor(1.0))

    def forward(self, x):
        y = x * self.scale.clone()
        self.scale.mul_(2)
        return y


def test_the_second_run_draws_and_finds_what_the_first_did():
    plain = nn.Sequential(nn.Linear(6, 6), DrawsFromTorch(), Power(), nn.Linear(6, 3))
    again, _ = cut(deepcopy(plain), 2)
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    outcomes = []
    for module in (plain, again):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            outcomes.append((alone(module, x), torch.rand(1)))
    assert_equal(outcomes[0][0], outcomes[1][0])
    assert outcomes[0][1] == outcomes[1][1]
    assert again.get_buffer("2.scale") == 2


def test_a_gradient_of_the_gradient_is_that_of_the_plain_model():
    plain = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    again, _ = cut(deepcopy(plain), 2)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    penalties = []
    for module in (plain, again):
        given = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(module(given).sum(), given, create_graph=True)
        penalty = (slope.norm(dim=1) - 1).square().mean()
        penalties.append(torch.autograd.grad(penalty, [given, *module.parameters()], allow_unused=True))
    for first, second in zip(*penalties, strict=True):
        if first is None or second is None:  # the last bias: unused, or of gradient zero
            assert second is None or not second.any()
            continue
        torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-14)


def test_only_the_segments_inputs_are_kept():
    module = nn.Sequential(
        *[layer for _ in range(8) for layer in (nn.Linear(16, 16), nn.Tanh(), nn.Sigmoid())]
    )
    kept = []
    for chosen in (module, cut(deepcopy(module), 6)[0]):
        addresses = {parameter.data_ptr() for parameter in chosen.parameters()}
        saved = {}

        def pack(tensor, addresses=addresses, saved=saved):
            if tensor.data_ptr() not in addresses:
                saved[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            outputs = chosen(torch.ones(32, 16))
        kept.append(sum(saved.values()))
        del outputs
    assert kept == [17 * 32 * 16, 4 * 32 * 16]  # every output of tanh and sigmoid; one of six modules


class Blocks(nn.Module):
    """A model of its own class with sequences in it, one of which holds two sequences."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Sequential(nn.Linear(6, 6), nn.ReLU()),
            nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)),
        )
        self.single = nn.Sequential(nn.Tanh())
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.single(self.body(x)))


def test_sequences_inside_other_modules_are_found():
    plain = Blocks()
    again, segments = cut(deepcopy(plain), 2)
    assert segments == 3
    assert [type(layer) for layer in again.body] == [Recomputing, Recomputing]
    assert type(again.single) is nn.Sequential
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    assert_equal(alone(plain, x), alone(again, x))
    assert cut(nn.Linear(3, 3), 2)[1] == 0


def test_evaluation_keeps_nothing_and_runs_once():
    module, _ = cut(nn.Sequential(nn.Linear(3, 3), Power(), nn.Linear(3, 3)), 1)
    with torch.no_grad():
        module(torch.ones(2, 3))
    assert module.get_buffer("1.scale") == 2


@pytest.mark.parametrize("name", ["images", "table"])
@pytest.mark.parametrize(
    ("others", "kernel"), diagonal(OTHERS, ("loop", "vmap", "batched", "compiled"), 0), ids=str
)
def test_training_is_equal_with_and_without(kernel, name, others):
    checks = suite()
    context = TaskContext.of(checks.contexts[name].task, checks.catalogue, CPU, kernel)
    plain = advance(context, [checks.run(context, others, seed) for seed in range(2)], steps=8)
    recipe = {"recompute": {"modules": 3}, **others}
    again = advance(context, [checks.run(context, recipe, seed) for seed in range(2)], steps=8)
    assert torch.equal(plain.weights.flat, again.weights.flat)
    assert torch.equal(plain.predict("validation"), again.predict("validation"))


@pytest.mark.parametrize(("on", "touched"), [(True, {"recompute": 3}), (False, {})])
def test_lanes_that_have_it_are_cut_and_others_are_not(on, touched):
    layers = [layer for _ in range(3) for layer in (nn.Linear(4, 4), nn.Tanh())]
    net = open_net(nn.Sequential(*layers), torch.zeros(2, 4))
    model(net, SimpleNamespace(on=on, modules=2))
    assert net.touched == touched
    assert any(isinstance(module, Recomputing) for module in net.module.modules()) is on
