"""The compiled pass of norms: lanes of every kind beside each other, against torch's modules in float64, and alone."""

from __future__ import annotations

import random

import pytest
import torch
from compiled_cases import vectors_of
from torch import Tensor, nn

from ablate.kernels.compiled_norms import PARAMETERS, RUNNING, NormOp
from ablate.kernels.fused import FusedOp
from ablate.kernels.memory_format import to_channels_last
from ablate.surgery.norms import (
    BatchNorm,
    ExtendedBatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Norm,
    RootMeanSquareNorm,
)

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
            [ExtendedBatchNorm(channels, rng.uniform(0.05, 0.5), eps()) for _ in range(2)],
            [RootMeanSquareNorm(channels, eps()) for _ in range(2)],
            [None],
        ]
        if len(shape) > 2:
            self.kinds.append([InstanceNorm(channels, eps()) for _ in range(2)])
        self.layers = [layer for kind in self.kinds for layer in kind]
        self.x = torch.randn(len(self.layers), *shape) * 3 + 7
        self.gradient = torch.randn(len(self.layers), *shape)
        if self.x.ndim == 5:
            self.x, self.gradient = to_channels_last(self.x), to_channels_last(self.gradient)
        for layer in self.layers:
            if layer is not None:
                for parameter in layer.parameters():
                    nn.init.normal_(parameter)

    def told(self, layers: list[Norm | None]) -> tuple[NormOp, list[Tensor], list[Tensor]]:
        """The op of these lanes, the weights and biases of every kind of norm among them, and the running statistics."""
        tensors: list[Tensor] = []
        held: list[Tensor] = []
        places: list[dict[str, int]] = [{} for _ in layers]
        for kind in dict.fromkeys(type(layer) for layer in layers if layer is not None):
            for names, into in ((PARAMETERS, tensors), (RUNNING, held)):
                for name in names:
                    lanes = [
                        lane
                        for lane, layer in enumerate(layers)
                        if type(layer) is kind and hasattr(layer, name)
                    ]
                    if not lanes:
                        continue
                    wide = torch.zeros(
                        len(layers), self.x.shape[2] + 3
                    )  # as in a group: rows lie apart in memory
                    inside = wide[:, : self.x.shape[2]]
                    if getattr(layers[lanes[0]], name).ndim == 0:
                        inside = wide[:, 0]
                    for lane in lanes:
                        inside[lane] = getattr(layers[lane], name).detach()
                        places[lane][name] = len(into)
                    into.append(inside.requires_grad_(names is PARAMETERS))
        return NormOp(layers, places, len(tensors), len(held)), tensors, held

    def run(self, layers: list[Norm | None], rows: slice) -> tuple[list[Tensor], NormOp, list[Tensor]]:
        """(y and gradients, the op, the running statistics)"""
        op, tensors, held = self.told(layers)
        x = self.x[rows].detach().requires_grad_()
        assert op.output_shape(tuple(x.shape[1:]), channels_last=True)
        y = FusedOp([op])(x, tensors, held)
        gradients = (
            torch.autograd.grad(y, [x, *tensors], self.gradient[rows]) if tensors else (self.gradient[rows],)
        )
        return [y, *gradients], op, held

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
        (y, to_x, *to), op, held = several.run(several.layers, slice(None))
    for lane, layer in enumerate(several.layers):
        if layer is None:
            assert torch.equal(y[lane], several.x[lane])
            assert torch.equal(to_x[lane], several.gradient[lane])
            continue
        inputs, places = several.x[lane].double().requires_grad_(), op.indices[lane]
        layer.double()
        right = layer(inputs)
        expected = torch.autograd.grad(right, (inputs, *layer.parameters()), several.gradient[lane].double())
        torch.testing.assert_close(y[lane].double(), right, rtol=1e-4, atol=1e-4)
        scale = float(expected[0].abs().max())
        torch.testing.assert_close(to_x[lane].double(), expected[0], rtol=1e-3, atol=2e-4 * max(scale, 1))
        for (name, _), reference in zip(layer.named_parameters(), expected[1:], strict=True):
            mine = to[places[name]][lane].double()
            torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-3)
        for name in RUNNING:
            if name in places:
                running = held[places[name]][lane].double()
                torch.testing.assert_close(running, layer.get_buffer(name), rtol=1e-5, atol=1e-5)
    for number, gradient in enumerate(to):
        others = [
            lane
            for lane in range(len(y))
            if number not in op.indices[lane].values() or several.layers[lane] is None
        ]
        assert (gradient[others] == 0).all(), "of lanes that have another norm"


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_lane_is_what_it_is_alone(shape: tuple[int, ...], training: bool) -> None:
    several = Several(shape, 2)
    several.train(training)
    (y, to_x, *_), *_ = several.run(several.layers, slice(None))
    for lane, layer in enumerate(several.layers):
        (outputs, back, *_), *_ = several.run([layer], slice(lane, lane + 1))
        assert torch.equal(outputs[0], y[lane])
        assert torch.equal(back[0], to_x[lane])


def test_a_gradient_of_the_gradient_is_torchs() -> None:
    several = Several((4, 6, 2, 2), 3)
    op, tensors, held = several.told(several.layers)
    x = several.x.detach().requires_grad_()

    def penalty(y: Tensor) -> Tensor:
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        return second

    gradients = penalty(FusedOp([op])(x, tensors, held))
    double = []
    for layer, lane_x in zip(several.layers, x, strict=True):
        double.append(lane_x if layer is None else layer(lane_x))
    right = penalty(torch.stack(double))
    torch.testing.assert_close(gradients, right, rtol=1e-3, atol=1e-3 * float(right.abs().max()))
