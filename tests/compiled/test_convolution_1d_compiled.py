"""Compiled convolutions along one axis: right to float64, nothing written beside what is theirs, the same bits with vectors of any width and
for a lane alone; the layer's rule uses them where it can."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from compiled_cases import Guarded, run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_layers import at_both_widths, error
from torch import Tensor, nn

from ablate.kernels.compiled import convolution_1d, use_compiled
from ablate.kernels.compiled_convolution import Convolution1dOp
from ablate.kernels.fused import FusedOp
from ablate.kernels.rules.convolution_1d import convolution_1d as rule

NAN = float("nan")


def tensors(lanes: int, examples: int, outputs: int, channels: int, out: int, size: int, seed: int):
    """x `[K, B, T, C]`, W, b, and the gradient of y."""
    draw = torch.Generator().manual_seed(seed)
    shapes = (
        (lanes, examples, outputs + size - 1, channels), (lanes, out, channels, size), (lanes, out),
        (lanes, examples, outputs, out),
    )  # fmt: skip
    return [torch.randn(shape, generator=draw) for shape in shapes]


def reference(x: Tensor, weight: Tensor, bias: Tensor, gradient: Tensor) -> Sequence[Tensor]:
    """y and the gradients of x, W and b, in float64."""
    leaves = [tensor.double().requires_grad_() for tensor in (x, weight, bias)]
    y = torch.stack([torch.conv1d(images.mT, *rest) for images, *rest in zip(*leaves, strict=True)]).mT
    return y, *torch.autograd.grad(y, leaves, gradient.double())


@settings(max_examples=6, deadline=None)  # each size is compiled for both widths, forward and backward
@example(lanes=2, examples=3, outputs=5, channels=17, out=9, size=4, seed=0)
@example(lanes=1, examples=1, outputs=1, channels=1, out=1, size=1, seed=0)
@example(lanes=2, examples=2, outputs=1, channels=3, out=33, size=5, seed=0)
@given(
    lanes=st.integers(1, 3), examples=st.integers(1, 5), outputs=st.integers(1, 19), channels=st.integers(1, 40),
    out=st.integers(1, 40), size=st.integers(1, 6), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_convolutions_along_one_axis(
    lanes: int, examples: int, outputs: int, channels: int, out: int, size: int, seed: int
) -> None:
    x, weight, bias, gradient = tensors(lanes, examples, outputs, channels, out, size, seed)
    counts = lanes, examples, x.shape[2]

    def both() -> Sequence[Tensor]:
        guarded = Guarded()
        operands = [guarded.put(tensor) for tensor in (x, weight, bias, gradient)]
        y, to_x, to_weight, to_bias = (
            guarded.put(torch.full_like(t, NAN)) for t in (gradient, x, weight, bias)
        )
        function, numbers = convolution_1d.forward(channels, out, size)
        run(function, (*operands[:3], y, guarded.put(torch.full((numbers,), NAN))), counts)
        function, numbers = convolution_1d.backward(channels, out, size)
        numbers += convolution_1d.padded_elements(out, size, x.shape[2])
        workspace = guarded.put(torch.full((numbers,), NAN))  # what is not written is not read
        run(function, (operands[3], operands[0], operands[1], to_x, to_weight, to_bias, workspace), counts)
        guarded.check()
        return y, to_x, to_weight, to_bias

    for mine, right in zip(at_both_widths(both), reference(x, weight, bias, gradient), strict=True):
        assert error(mine, right) < 1e-5


def test_gradients_that_are_not_needed_are_not_computed() -> None:
    x, weight, bias, gradient = tensors(2, 3, 5, 4, 6, 3, 1)
    function, numbers = convolution_1d.backward(4, 6, 3)
    workspace = torch.zeros(numbers + convolution_1d.padded_elements(6, 3, 7))
    wanted = [torch.zeros_like(tensor) for tensor in (x, weight, bias)]
    run(function, (gradient, x, weight, *wanted, workspace), (2, 3, 7))
    for place in range(3):
        some = [torch.zeros_like(t) if i == place else None for i, t in enumerate(wanted)]
        run(function, (gradient, x, weight, *some, workspace), (2, 3, 7))
        assert torch.equal(some[place], wanted[place])


@pytest.mark.parametrize("has_bias", [True, False])
def test_the_op_is_the_layer_and_a_lane_has_its_bits_alone(has_bias: bool) -> None:
    x, weight, bias, gradient = tensors(3, 4, 9, 8, 12, 3, 2)
    op = FusedOp([Convolution1dOp(8, 12, 3, has_bias)])

    def trained(lanes: slice) -> list[Tensor]:
        leaves = [t[lanes].clone().requires_grad_() for t in (x, weight, bias)[: 2 + has_bias]]
        y = op(leaves[0], leaves[1:])
        return [y.detach(), *torch.autograd.grad(y, leaves, gradient[lanes])]

    whole = trained(slice(None))
    right = reference(x, weight, bias if has_bias else torch.zeros_like(bias), gradient)
    for mine, value in zip(whole, right, strict=False):
        assert error(mine, value) < 1e-5
    for lane in range(3):
        for alone, together in zip(trained(slice(lane, lane + 1)), whole, strict=True):
            assert torch.equal(alone[0], together[lane])


def test_second_gradients_are_those_of_torchs_operators() -> None:
    x, weight, bias, _ = (tensor.requires_grad_() for tensor in tensors(1, 2, 4, 3, 5, 3, 3))

    def penalty(y: Tensor) -> Tensor:
        (grad,) = torch.autograd.grad((y**2).sum(), x, create_graph=True)
        return torch.autograd.grad((grad**2).sum(), weight)[0]

    mine = penalty(FusedOp([Convolution1dOp(3, 5, 3, True)])(x, [weight, bias]))
    right = penalty(torch.conv1d(x[0].mT, weight[0], bias[0]).mT[None])
    assert error(mine, right) < 1e-4


@pytest.mark.parametrize(
    ("settings_of_layer", "compiled"),
    [({}, True), ({"padding": 2}, True), ({"bias": False}, True), ({"stride": 2}, False), ({"dilation": 2}, False)],
)  # fmt: skip
def test_the_rule_of_the_layer_uses_it_where_windows_are_neighbours(
    settings_of_layer: dict, compiled: bool
) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv1d(6, 10, 3, **settings_of_layer) for _ in range(2)]
    x = torch.randn(2, 4, 6, 11)
    right = torch.stack([layer(one) for layer, one in zip(layers, x, strict=True)])
    shared = nn.Conv1d(6, 10, 3, **settings_of_layer)
    del shared.weight
    shared.weight = torch.stack([layer.weight.detach() for layer in layers])
    if shared.bias is not None:
        del shared.bias
        shared.bias = torch.stack([layer.bias.detach() for layer in layers])
    cache: dict = {}
    with use_compiled(cache):
        y = rule(shared, x)
    assert torch.allclose(y, right, atol=1e-5)
    assert any(isinstance(op, Convolution1dOp) for op in cache) is compiled
