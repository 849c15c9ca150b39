"""Norms of several lanes at once: torch's own modules in float64, second derivatives, and every lane as it is alone."""

from __future__ import annotations

import random
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from ablate.kernels.memory_format import to_channels_last
from ablate.kernels.rules import norms
from ablate.kernels.stacked import stacked
from ablate.kernels.stacked_norms import normed, tensors_of
from ablate.kernels.standardize import Statistics, standardized
from ablate.surgery.norms import (
    BatchNorm,
    ExtendedBatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Norm,
    RootMeanSquareNorm,
)

SHAPES = ((6, 12), (128, 64), (5, 12, 3, 3), (3, 8, 4, 5), (2, 4, 7, 1))


def layers(shape: tuple[int, ...], lanes: int) -> list[list[Norm]]:
    """For each kind, as many lanes, of other settings each."""
    channels = shape[1]
    groups = [
        g
        for g in range(1, channels + 1)
        if channels % g == 0 and channels // g * torch.Size(shape[2:]).numel() > 1
    ]
    rng = random.Random(lanes)
    kinds = [
        [BatchNorm(channels, rng.uniform(0.05, 0.5), 10 ** rng.uniform(-6, -2)) for _ in range(lanes)],
        [GroupNorm(channels, rng.choice(groups), 10 ** rng.uniform(-6, -2)) for _ in range(lanes)],
        [LayerNorm(channels, 10 ** rng.uniform(-6, -2)) for _ in range(lanes)],
        [
            ExtendedBatchNorm(channels, rng.uniform(0.05, 0.5), 10 ** rng.uniform(-6, -2))
            for _ in range(lanes)
        ],
        [RootMeanSquareNorm(channels, 10 ** rng.uniform(-6, -2)) for _ in range(lanes)],
    ]
    if len(shape) > 2:
        kinds.append([InstanceNorm(channels, 10 ** rng.uniform(-6, -2)) for _ in range(lanes)])
    for layer in (one for kind in kinds for one in kind):
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
    return kinds


def bound(every_norm: list[Norm]) -> tuple[Norm, dict[str, Tensor]]:
    """A layer that holds the stacked tensors of all, and those by name."""
    held = [dict([*one.named_parameters(), *one.named_buffers()]) for one in every_norm]
    stacks = {
        name: torch.stack([tensors[name].detach() for tensors in held]).requires_grad_(
            name in ("weight", "bias")
        )
        for name in held[0]
    }
    return every_norm[0], stacks


def learned(stacks: dict[str, Tensor]) -> list[Tensor]:
    """The weights and, if there are any, the biases."""
    return [stacks[name] for name in ("weight", "bias") if name in stacks]


@pytest.mark.parametrize("channels_innermost", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_lane_is_as_it_is_alone(shape: tuple[int, ...], channels_innermost: bool) -> None:
    torch.manual_seed(0)
    for kind in layers(torch.Size(shape), 5):
        layer, stacks = bound(kind)
        x = torch.randn(5, *shape) * 3 + 7
        gradient = torch.randn(5, *shape)
        if channels_innermost and len(shape) == 4:
            x, gradient = to_channels_last(x), to_channels_last(gradient)
        x.requires_grad_()
        for training in (True, False):
            layer.train(training)
            y = normed(layer, x, stacks)
            gradients = torch.autograd.grad(y, (x, *learned(stacks)), gradient)
            for lane, one in enumerate(kind):
                one.train(training)
                inputs = x.detach()[lane].requires_grad_()
                held = {name: tensor[None] for name, tensor in tensors_of(one).items()}
                alone = normed(one, inputs[None], held)[0]
                assert torch.equal(alone, y[lane]), type(one).__name__
                expected = torch.autograd.grad(alone, (inputs, *one.parameters()), gradient[lane])
                # In evaluation only inputs are ever asked about.
                for mine, reference in zip(gradients, expected[: 3 if training else 1], strict=False):
                    assert torch.equal(mine[lane], reference), type(one).__name__
                for name, buffer in one.named_buffers():
                    assert torch.equal(stacks[name][lane], buffer), name


@pytest.mark.parametrize("shape", SHAPES)
def test_lanes_of_different_groups_are_torchs_modules_in_float64(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    for kind in layers(torch.Size(shape), 4):
        layer, stacks = bound([one.double() for one in kind])
        x = (torch.randn(4, *shape, dtype=torch.float64) * 2 - 5).requires_grad_()
        y = normed(layer, x, stacks)
        gradient = torch.randn_like(y)
        gradients = torch.autograd.grad(y, (x, *learned(stacks)), gradient)
        for lane, one in enumerate(kind):
            inputs = x.detach()[lane].requires_grad_()
            reference = one(inputs)
            torch.testing.assert_close(y[lane], reference, rtol=1e-9, atol=1e-9)
            expected = torch.autograd.grad(reference, (inputs, *one.parameters()), gradient[lane])
            for mine, theirs in zip(gradients, expected, strict=True):
                torch.testing.assert_close(mine[lane], theirs, rtol=1e-8, atol=1e-8)
            for name in ("running_mean", "running_var"):
                if name in stacks:
                    torch.testing.assert_close(stacks[name][lane], one.get_buffer(name), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("centred", ["group", "channel", "not"])
@pytest.mark.parametrize("examples", [False, True])
def test_first_and_second_derivatives(
    examples: bool, centred: Literal["group", "channel", "not"], bias: bool
) -> None:
    torch.manual_seed(2)
    tensors = {"eps": torch.full((2,), 1e-3, dtype=torch.float64)}
    if centred != "group" or not examples:
        tensors["channels_per_group"] = torch.tensor([2.0, 4.0], dtype=torch.float64)

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip(("weight", "bias"), parameters, strict=False))
        return standardized(x, tensors | named, Statistics(examples, centred))[0]

    sizes = ((2, 3, 4, 2, 1), (2, 4), (2, 4))[: 2 + bias]
    given = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes]
    assert torch.autograd.gradcheck(call, given)
    assert torch.autograd.gradgradcheck(call, given)


def test_large_activations_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    layer = GroupNorm(6, 3, 1e-5)
    nn.init.normal_(layer.weight)
    x = torch.randn(2, 4, 6, 5, 5)
    there = torch.stack([layer(lane) for lane in x])
    assert norms.fits(layer, x)
    layer.weight, layer.bias = (
        nn.Parameter(torch.stack([t, t]).detach()) for t in (layer.weight, layer.bias)
    )
    layer.eps, layer.channels_per_group = (torch.stack([t, t]) for t in (layer.eps, layer.channels_per_group))
    here = stacked(layer, x)
    torch.testing.assert_close(here, there)
    assert not torch.equal(here, there), "other operations, so other roundings"
    monkeypatch.setattr(norms, "SMALL", x[0].numel() - 1)
    assert not norms.fits(layer, x)
    torch.testing.assert_close(stacked(layer, x), there)
