"""The compiled pass of norms: lanes of every kind beside each other, against torch's modules in float64, and alone."""

from __future__ import annotations

import random

import pytest
import torch
from compiled_cases import vectors_of
from torch import Tensor, nn

from ablate.catalogue.model.batch_norm import BatchNorm
from ablate.catalogue.model.group_norm import GroupNorm
from ablate.catalogue.model.instance_norm import InstanceNorm
from ablate.catalogue.model.layer_norm import LayerNorm
from ablate.compiled import compiled_code
from ablate.surgery.compiled_norms import Lanes, Part, covers, standardised
from ablate.surgery.layout import innermost
from ablate.surgery.norms import Norm

SHAPES = ((6, 12), (33, 64), (5, 12, 3, 3), (3, 8, 4, 5), (2, 48, 7, 1), (40, 16, 4, 4))


class Several:
    """Lanes of several norms and of none, with their stacked tensors."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        channels, rng = shape[1], random.Random(seed)
        torch.manual_seed(seed)
        groups = [
            g for g in range(1, channels + 1) if channels % g == 0 and channels // g * torch.Size(shape[2:]).numel() > 1
        ]  # fmt: skip
        eps = lambda: 10 ** rng.uniform(-6, -2)  # noqa: E731
        self.kinds: list[list[Norm | None]] = [
            [None, None],
            [BatchNorm(channels, rng.uniform(0.05, 0.5), eps()) for _ in range(2)],
            [GroupNorm(channels, rng.choice(groups), eps()) for _ in range(3)],
            [LayerNorm(channels, eps())],
            [None],
        ]
        if len(shape) > 2:
            self.kinds.append([InstanceNorm(channels, eps()) for _ in range(2)])
        self.layers = [layer for kind in self.kinds for layer in kind]
        self.x = torch.randn(len(self.layers), *shape) * 3 + 7
        self.gradient = torch.randn(len(self.layers), *shape)
        if self.x.ndim == 5:
            self.x, self.gradient = innermost(self.x), innermost(self.gradient)
        for layer in self.layers:
            if layer is not None:
                nn.init.normal_(layer.weight)
                nn.init.normal_(layer.bias)

    def told(self, kinds: list[list[Norm | None]]) -> tuple[Lanes, list[Tensor]]:
        held: list[Tensor] = []
        parts, first = [], 0
        for kind in kinds:
            own = [layer for layer in kind if layer is not None]
            if not own:
                parts.append(Part(first, len(kind)))
            else:
                numbers = {}
                for name, tensor in [*own[0].named_parameters(), *own[0].named_buffers()]:
                    # As in a group: a row stands before those that are meant, and rows lie apart in memory.
                    wide = torch.zeros(len(kind) + 1, *tensor.shape[:-1], *(size + 3 for size in tensor.shape[-1:]), dtype=tensor.dtype)  # fmt: skip
                    inside = wide[..., : tensor.shape[-1]] if tensor.ndim else wide
                    inside[1:] = torch.stack([getattr(one, name).detach() for one in own])  # fmt: skip
                    numbers[name] = len(held)
                    held.append(inside.requires_grad_(name in ("weight", "bias")))
                parts.append(Part(first, len(kind), kind, numbers, 1))
            first += len(kind)
        return Lanes(parts), held

    def run(self, kinds: list[list[Norm | None]], rows: slice) -> tuple[list[Tensor], Lanes, list[Tensor]]:
        """(y and gradients, what was told, the tensors)"""
        lanes, held = self.told(kinds)
        x = self.x[rows].detach().requires_grad_()
        with compiled_code(True):
            assert covers(x)
            y = standardised(x, lanes, held)
        leaves = [x, *(tensor for tensor in held if tensor.requires_grad)]
        return [y, *torch.autograd.grad(y, leaves, self.gradient[rows])], lanes, held

    def train(self, mode: bool) -> None:
        for layer in self.layers:
            if layer is not None:
                layer.train(mode)


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_lanes_of_every_kind_are_torchs_modules_in_float64(
    shape: tuple[int, ...], training: bool, width: int
) -> None:
    several = Several(shape, 1)
    several.train(training)
    with vectors_of(width):
        (y, to_x, *to), lanes, held = several.run(several.kinds, slice(None))
    gradients = iter(to)
    for part in lanes.parts:
        by_name = {name: next(gradients) for name in ("weight", "bias")} if part.layers else {}
        for i in range(part.count):
            lane, layer = part.first + i, part.layers[i] if part.layers else None
            if layer is None:
                assert torch.equal(y[lane], several.x[lane])
                assert torch.equal(to_x[lane], several.gradient[lane])
                continue
            own = several.x[lane].double().requires_grad_()
            layer.double()
            right = layer.torchs(own)
            expected = torch.autograd.grad(
                right, (own, layer.weight, layer.bias), several.gradient[lane].double()
            )
            torch.testing.assert_close(y[lane].double(), right, rtol=1e-4, atol=1e-4)
            scale = float(expected[0].abs().max())
            torch.testing.assert_close(to_x[lane].double(), expected[0], rtol=1e-3, atol=2e-4 * max(scale, 1))
            for name, reference in zip(("weight", "bias"), expected[1:], strict=True):
                found = by_name[name][part.row + i].double()
                torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-3)
            for name in ("running_mean", "running_var"):
                if name in part.tensors:
                    running = held[part.tensors[name]][part.row + i].double()
                    torch.testing.assert_close(running, layer.get_buffer(name), rtol=1e-5, atol=1e-5)
        for name, gradient in by_name.items():
            assert (gradient[0] == 0).all(), f"{name}: of a lane that has another norm"


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_lane_is_what_it_is_alone(shape: tuple[int, ...], training: bool) -> None:
    several = Several(shape, 2)
    several.train(training)
    (y, to_x, *_), *_ = several.run(several.kinds, slice(None))
    for lane, layer in enumerate(several.layers):
        (own, back, *_), *_ = several.run([[layer]], slice(lane, lane + 1))
        assert torch.equal(own[0], y[lane])
        assert torch.equal(back[0], to_x[lane])


def test_a_gradient_of_the_gradient_is_torchs() -> None:
    several = Several((4, 6, 2, 2), 3)
    lanes, held = several.told(several.kinds)
    x = several.x.detach().requires_grad_()

    def penalty(y: Tensor) -> Tensor:
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        return second

    with compiled_code(True):
        found = penalty(standardised(x, lanes, held))
    parts = []
    for part in lanes.parts:
        own = x[part.first : part.first + part.count]
        parts.append(part.layers[0].differentiably(own, part.own(held)) if part.layers else own)
    right = penalty(torch.cat(parts))
    torch.testing.assert_close(found, right, rtol=1e-3, atol=1e-3 * float(right.abs().max()))
