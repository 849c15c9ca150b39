"""Compiled layers: right to float64, nothing written beside what is theirs, the same bits with vectors of any width."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from compiled_cases import Guarded, run, vectors_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from ablate.kernels.compiled import direct_convolution, dropout, linear, relu, tiled_winograd, winograd
from ablate.kernels.compiled.tiled_winograd import grid_of
from ablate.kernels.compiled.winograd_transforms import tile_of
from ablate.seams.draws import STARTS, keep_masks, windows

WIDTHS = (8, 16)


def error(values: Tensor, right: Tensor) -> float:
    """Of the largest number, or of 1, which is the size of what is added up: sums may cancel."""
    right = right.detach()
    return float((values - right).abs().max() / right.abs().max().clamp_min(1))


def at_both_widths(make) -> list[Sequence[Tensor]]:
    """What `make` gives with vectors of 8 and of 16 numbers; both are to be equal to the last bit."""
    at_widths = []
    for width in WIDTHS:
        with vectors_of(width):
            at_widths.append(make())
    for one, other in zip(*at_widths, strict=True):
        assert torch.equal(one, other)
    return at_widths[0]


@settings(max_examples=6, deadline=None)  # each size is compiled for both widths, forward and backward
@example(lanes=3, rows=19, inputs=70, outputs=70, seed=0)
@example(lanes=2, rows=1, inputs=1, outputs=17, seed=0)
@example(lanes=1, rows=5, inputs=33, outputs=1, seed=0)
@given(
    lanes=st.integers(1, 3), rows=st.integers(1, 19), inputs=st.integers(1, 70), outputs=st.integers(1, 70),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_linear_layers(lanes: int, rows: int, inputs: int, outputs: int, seed: int) -> None:
    torch.manual_seed(seed)
    x, weight, bias = (
        torch.randn(lanes, rows, inputs),
        torch.randn(lanes, outputs, inputs),
        torch.randn(lanes, outputs),
    )
    gradient = torch.randn(lanes, rows, outputs)

    def both() -> Sequence[Tensor]:
        guarded = Guarded()
        operands = [guarded.put(tensor) for tensor in (x, weight, bias, gradient)]
        y, to_x, to_weight, to_bias = (guarded.put(torch.zeros_like(t)) for t in (gradient, x, weight, bias))
        function, numbers = linear.forward(inputs, outputs)
        run(function, (*operands[:3], y, guarded.put(torch.zeros(numbers))), (lanes, rows))
        function, numbers = linear.backward(inputs, outputs)
        workspace = guarded.put(torch.zeros(numbers))
        run(
            function,
            (operands[3], operands[0], operands[1], to_x, to_weight, to_bias, workspace),
            (lanes, rows),
        )
        guarded.check()
        return y, to_x, to_weight, to_bias

    leaves = [tensor.double().requires_grad_() for tensor in (x, weight, bias)]
    y = torch.stack([torch.nn.functional.linear(*lane) for lane in zip(*leaves, strict=True)])
    right = (y, *torch.autograd.grad(y, leaves, gradient.double()))
    for mine, reference in zip(at_both_widths(both), right, strict=True):
        assert error(mine, reference) < 1e-5


@settings(max_examples=4, deadline=None)  # each size is compiled for both widths, forward and backward
@example(lanes=2, examples=17, channels=17, out=9, height=4, width=3, seed=0)
@given(
    lanes=st.integers(1, 2), examples=st.integers(1, 35), channels=st.integers(1, 20), out=st.integers(1, 20),
    height=st.integers(2, 4), width=st.integers(2, 4), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_one_tile(
    lanes: int, examples: int, channels: int, out: int, height: int, width: int, seed: int
) -> None:
    tile = tile_of(height, width, (1, 1))
    check_winograd(winograd, tile, (1, 1), lanes, examples, channels, out, (height, width), seed)


@settings(max_examples=4, deadline=None)
@example(lanes=2, examples=3, channels=17, out=9, height=9, width=6, padding=(1, 1), seed=0)
@given(
    lanes=st.integers(1, 2), examples=st.integers(1, 5), channels=st.integers(1, 20), out=st.integers(1, 20),
    height=st.integers(5, 17), width=st.integers(5, 17), padding=st.tuples(*[st.integers(0, 2)] * 2),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_several_tiles(
    lanes: int, examples: int, channels: int, out: int, height: int, width: int, padding: tuple[int, int], seed: int
) -> None:  # fmt: skip
    grid = grid_of(height, width, padding)
    check_winograd(tiled_winograd, grid, padding, lanes, examples, channels, out, (height, width), seed)


def check_winograd(
    module, sizes, padding: tuple[int, int], lanes: int, examples: int, channels: int, out: int, into: tuple[int, int], seed: int
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    x, weight = torch.randn(lanes, examples, *into, channels), torch.randn(lanes, out, channels, 3, 3)
    sides = (side + 2 * pad - 2 for side, pad in zip(into, padding, strict=True))
    bias, gradient = torch.randn(lanes, out), torch.randn(lanes, examples, *sides, out)

    def both() -> Sequence[Tensor]:
        guarded = Guarded()
        operands = [guarded.put(tensor) for tensor in (x, weight, bias, gradient)]
        y, to_x, to_weight, to_bias = (guarded.put(torch.zeros_like(t)) for t in (gradient, x, weight, bias))
        function, numbers = module.forward(sizes, channels, out)
        run(function, (*operands[:3], y, guarded.put(torch.zeros(numbers))), (lanes, examples))
        function, numbers = module.backward(sizes, channels, out)
        workspace = guarded.put(torch.zeros(numbers))
        run(
            function,
            (operands[3], operands[0], operands[1], to_x, to_weight, to_bias, workspace),
            (lanes, examples),
        )
        guarded.check()
        return y, to_x, to_weight, to_bias

    right = convolved(x, weight, bias, gradient, (1, 1), padding)
    for mine, reference in zip(at_both_widths(both), right, strict=True):
        assert error(mine, reference) < 1e-5


def convolved(
    x: Tensor, weight: Tensor, bias: Tensor, gradient: Tensor, stride, padding
) -> tuple[Tensor, ...]:
    """torch's convolution in float64, `[K, B, H, W, C]` in and out, and its gradients."""
    leaves = [tensor.double().requires_grad_() for tensor in (x, weight, bias)]
    lanes = [torch.conv2d(a.movedim(-1, 1), w, b, stride, padding) for a, w, b in zip(*leaves, strict=True)]
    y = torch.stack(lanes).movedim(2, -1)
    return (y, *torch.autograd.grad(y, leaves, gradient.double()))


@settings(max_examples=6, deadline=None)
@given(
    lanes=st.integers(1, 2), examples=st.integers(1, 5), channels=st.integers(1, 8), out=st.integers(1, 20),
    kernel=st.tuples(*[st.integers(1, 4)] * 2), stride=st.tuples(*[st.integers(1, 3)] * 2),
    padding=st.tuples(*[st.integers(0, 2)] * 2), more=st.tuples(*[st.integers(0, 9)] * 2), seed=st.integers(0, 10**6),
    innermost=st.booleans(),
)  # fmt: skip
def test_few_channels(
    lanes: int, examples: int, channels: int, out: int, kernel: tuple[int, int], stride: tuple[int, int],
    padding: tuple[int, int], more: tuple[int, int], seed: int, innermost: bool,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    into = (kernel[0] + more[0], kernel[1] + more[1])
    sizes = direct_convolution.Sizes(channels, out, kernel, stride, padding, into)
    x = torch.randn(lanes, examples, *into, channels)
    weight, bias = torch.randn(lanes, out, channels, *kernel), torch.randn(lanes, out)
    gradient = torch.randn(lanes, examples, *sizes.outputs, out)

    def both() -> Sequence[Tensor]:
        guarded = Guarded()
        inputs = guarded.put(x).movedim(-1, 2) if innermost else guarded.put(x.movedim(-1, 2).contiguous())
        operands = [guarded.put(tensor) for tensor in (weight, bias, gradient)]
        y, to_weight, to_bias = (guarded.put(torch.zeros_like(t)) for t in (gradient, weight, bias))
        counts = (lanes, examples, *inputs.stride())
        function, numbers = direct_convolution.forward(sizes)
        run(function, (inputs, operands[0], operands[1], y, guarded.put(torch.zeros(numbers))), counts)
        function, numbers = direct_convolution.backward(sizes)
        run(function, (operands[2], inputs, to_weight, to_bias, guarded.put(torch.zeros(numbers))), counts)
        to_x = guarded.put(torch.zeros_like(inputs, memory_format=torch.contiguous_format)) if not innermost else guarded.put(torch.zeros_like(x)).movedim(-1, 2)  # fmt: skip
        function, numbers = direct_convolution.backward_to_x(sizes)
        counts = (lanes, examples, *to_x.stride())
        run(function, (operands[2], operands[0], to_x, guarded.put(torch.zeros(numbers))), counts)
        guarded.check()
        return y, to_x.movedim(2, -1), to_weight, to_bias

    right = convolved(x, weight, bias, gradient, stride, padding)
    for mine, reference in zip(at_both_widths(both), right, strict=True):
        assert error(mine, reference) < 1e-5


@pytest.mark.parametrize("numbers", [1, 7, 16, 33, 250])
def test_dropout_draws_the_masks_that_torch_would_be_told(numbers: int) -> None:
    torch.manual_seed(numbers)
    key = torch.randint(-(2**31), 2**31 - 1, (3,), dtype=torch.int32)
    least = torch.tensor([-(2**15), 0, 2**15 - 1], dtype=torch.int16)
    x, scale = torch.randn(3, numbers), torch.tensor([1.0, 2.0, 7.0])

    def masked() -> Sequence[Tensor]:
        guarded = Guarded()
        inputs, y = guarded.put(x), guarded.put(torch.zeros_like(x))
        tables = windows(numbers, x.device)
        run(dropout.dropout(STARTS), (inputs, scale, y, key, least, *tables), (3, numbers))
        guarded.check()
        return [y]

    (y,) = at_both_widths(masked)
    assert torch.equal(y, x * (keep_masks(key, least, (numbers,)) * scale[:, None]))
    assert torch.equal(y[0], x[0]), "neutral settings keep every bit"


SPECIAL = [0.0, -0.0, 1.5, -1.5, float("inf"), -float("inf"), float("nan"), 1e-42, -1e-42]


@pytest.mark.parametrize("numbers", [9, 16, 41])
def test_rectifiers_are_torchs_bit_for_bit(numbers: int) -> None:
    torch.manual_seed(numbers)
    slopes = torch.tensor([0.0, 0.01, 1.0, float("nan"), 0.3])
    x, gradient = torch.randn(5, numbers), torch.randn(5, numbers)
    x[:, : len(SPECIAL)] = torch.tensor(SPECIAL)

    def both() -> Sequence[Tensor]:
        guarded = Guarded()
        values, g = guarded.put(x), guarded.put(gradient)
        y, to_x = (guarded.put(torch.full_like(x, 7.0)) for _ in range(2))
        run(relu.leaky_relu(backward=False), (values, slopes, y), (5, numbers))
        run(relu.leaky_relu(backward=True), (values, slopes, g, to_x), (5, numbers))
        guarded.check()
        return [y.nan_to_num(99.0), to_x.nan_to_num(99.0)]

    y, to_x = at_both_widths(both)
    for lane, slope in enumerate(slopes.tolist()):
        if slope != slope:
            assert (y[lane] == 7).all(), "a lane without a slope is left out"
            assert (to_x[lane] == 7).all()
            continue
        leaf = x[lane].clone().requires_grad_()
        right = leaf.relu() if slope == 0 else torch.nn.functional.leaky_relu(leaf, slope)
        (back,) = torch.autograd.grad(right, leaf, gradient[lane])
        assert torch.equal(y[lane], right.detach().nan_to_num(99.0))
        assert torch.equal(to_x[lane], back.nan_to_num(99.0))
