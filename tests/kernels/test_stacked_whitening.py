"""Whitening of several lanes at once: the layer itself in float64, second derivatives, and every lane as it is alone."""

from __future__ import annotations

import random
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from ablate.kernels.memory_format import to_channels_last
from ablate.kernels.parameter_binding import binding_of
from ablate.kernels.rules import whitening
from ablate.kernels.stacked import run_eager
from ablate.surgery.whitening import IterNorm

SHAPES = (
    (6, 12, 4),
    (128, 32, 16),
    (65, 17, 17),
    (9, 6, 1),
    (7, 8, 8, 3, 3),
    (5, 12, 6, 4, 5),
    (33, 16, 16, 7),
)
"""Examples, channels, channels of a group, sides."""


def lanes_of(shape: tuple[int, ...], count: int, seed: int) -> list[IterNorm]:
    """Layers of different settings and parameters."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    layers = [
        IterNorm(shape[1], shape[2], rng.randint(1, 7), rng.uniform(0.05, 0.5), 10 ** rng.uniform(-5, -1))
        for _ in range(count)
    ]
    for layer in layers:
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    return layers


def values(shape: tuple[int, ...], count: int, *, channels_last: bool = False) -> tuple[Tensor, Tensor]:
    """Activations of neighbouring channels that depend on each other, and a gradient."""
    x = torch.randn(count, shape[0], shape[1], *shape[3:]) * 3 + 7
    x, gradient = x + 0.5 * x.roll(1, 2), torch.randn_like(x)
    return (to_channels_last(x), to_channels_last(gradient)) if channels_last else (x, gradient)


def run(layers: list[IterNorm], x: Tensor, gradient: Tensor) -> list[Tensor]:
    """y, the gradients of x, weights and biases, and the buffers afterwards."""
    held = [binding_of(layer).tensors() for layer in layers]
    stacks = {name: torch.stack([one[name].detach() for one in held]) for name in held[0]}
    for name in ("weight", "bias"):  # as in a group: rows lie apart in memory
        stacks[name] = torch.cat([stacks[name], stacks[name]], dim=1)[:, : x.shape[2]].requires_grad_()
    weights = [stacks["weight"], stacks["bias"]]
    x = x.detach().requires_grad_()
    with binding_of(layers[0]).bound(stacks):
        assert whitening.fits(layers[0], x)
        y = run_eager(layers[0], x)
    return [
        y,
        *torch.autograd.grad(y, [x, *weights], gradient),
        *(tensor.detach() for tensor in stacks.values()),
    ]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_lane_is_as_it_is_alone(shape: tuple[int, ...], channels_last: bool, training: bool) -> None:
    layers = [layer.train(training) for layer in lanes_of(shape, 5, 0)]
    x, gradient = values(shape, 5, channels_last=channels_last and len(shape) == 5)
    together = run(deepcopy(layers), x, gradient)
    for chosen in ([0], [1], [2], [3], [4], [4, 2], [0, 1, 3]):
        apart = run([deepcopy(layers[lane]) for lane in chosen], x[chosen], gradient[chosen])
        for mine, theirs in zip(together, apart, strict=True):
            assert torch.equal(mine[chosen], theirs)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_lanes_of_different_settings_are_the_layer_in_float64(shape: tuple[int, ...], training: bool) -> None:
    layers = [layer.double().train(training) for layer in lanes_of(shape, 4, 1)]
    x, gradient = (each.double() for each in values(shape, 4))
    y, to_x, to_weight, to_bias, *buffers = run(deepcopy(layers), x, gradient)
    for lane, layer in enumerate(layers):
        inputs = x[lane].clone().requires_grad_()
        reference = layer(inputs)
        expected = torch.autograd.grad(reference, (inputs, layer.weight, layer.bias), gradient[lane])
        for mine, theirs in zip((y, to_x, to_weight, to_bias), (reference, *expected), strict=True):
            torch.testing.assert_close(mine[lane], theirs, rtol=1e-8, atol=1e-8)
        for mine, held in zip(buffers, binding_of(layer).tensors().values(), strict=True):
            torch.testing.assert_close(mine[lane], held, rtol=1e-9, atol=1e-9)


def test_first_and_second_derivatives() -> None:
    torch.manual_seed(2)
    layers = [IterNorm(4, 2, iterations, 0.1, 1e-2).double() for iterations in (1, 3)]
    held = [binding_of(layer).tensors() for layer in layers]
    stacks = {name: torch.stack([one[name].detach() for one in held]) for name in held[0]}

    def call(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        with binding_of(layers[0]).bound(stacks | {"weight": weight, "bias": bias}):
            return run_eager(layers[0], x)

    given = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((2, 3, 4, 2), (2, 4), (2, 4))]  # fmt: skip
    assert torch.autograd.gradcheck(call, given)
    assert torch.autograd.gradgradcheck(call, given)
