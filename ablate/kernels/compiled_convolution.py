"""Convolutions as compiled ops: in two dimensions `compiled.direct_convolution`, `compiled.winograd` and `compiled.tiled_winograd`, by size; along
one axis `compiled.convolution_1d`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ablate.kernels.batched_matmul import product
from ablate.kernels.call_plan import NULL, ArgRef
from ablate.kernels.compiled_op import EmitBackward, EmitContext, Shape, nhwc_shape
from ablate.kernels.compiled_ops import MAX_LINEAR_WEIGHTS, LinearOp, masked_bias

if TYPE_CHECKING:
    from ablate.kernels.compiled.jit import Function

Pair = tuple[int, int]

# Sizes for which compiled code takes at most 1 / 1.2 of oneDNN's time, forward and backward together, fitted on grids of layers on one
# core with AVX-512: 70 layers of one tile, 61 of more (4 to 128 channels, 8 to 256 examples), 90 of few input channels.
MAX_WINOGRAD_WEIGHTS = 2**14  # input channels times output channels
MAX_WINOGRAD_SIDE = 56  # of the output, as MAX_DIRECT_SIDE; larger ones were not measured
MAX_DIRECT_SIDE = 32
MAX_DIRECT_KERNEL = 25  # weights of a kernel
MAX_DIRECT_CHANNELS = {
    True: 8,
    False: 4,
}  # by whether the stride skips positions; 16 layers of 6 or 8 channels with stride 2: 1.1 to 3.6 times as fast
MAX_POINTWISE_VALUES = (
    2**20
)  # elements of a lane's input and output: 26 layers of 1×1, 1.2 to 3.8 times as fast below, 0.5 to 1.6 above
MAX_DIRECT_VALUES = 2**15  # elements of a lane's im2col matrix, where the output channels fill no vector


@dataclass(frozen=True)
class ConvolutionOp:
    """`nn.Conv2d` with zero padding: `[B, C, H, W]`, `[O, C, h, w]`, `[O]` -> `[B, O, H', W']`. `has_bias`, `without_bias`: as in `LinearOp`.

    The input may be in any memory format; the output is channels-last.
    """

    channels: tuple[int, int]
    """(out, in)"""
    kernel: Pair
    stride: Pair
    padding: Pair
    has_bias: bool
    without_bias: frozenset[int] = frozenset()

    num_buffers = 0

    @property
    def num_params(self) -> int:
        return 1 + self.has_bias

    def output_shape(self, shape: Shape, *, channels_last: bool) -> Shape | None:
        if len(shape) != 4 or shape[1] != self.channels[1]:
            return None
        sides = self._sides(shape)
        algorithm = self._algorithm(shape)
        return (shape[0], self.channels[0], *sides) if algorithm else None

    def _sides(self, shape: Shape) -> tuple[int, int]:
        """Height and width of the output."""
        each = zip(shape[2:], self.kernel, self.stride, self.padding, strict=True)
        height, width = ((side + 2 * pad - kernel) // step + 1 for side, kernel, step, pad in each)
        return height, width

    def _algorithm(self, shape: Shape) -> str:
        (out, channels), sides = self.channels, self._sides(shape)
        values = channels * prod(self.kernel) * shape[0] * prod(sides)  # elements of a lane's im2col matrix
        if channels <= MAX_DIRECT_CHANNELS[min(self.stride) > 1] and prod(self.kernel) <= MAX_DIRECT_KERNEL and max(sides) <= MAX_DIRECT_SIDE and (out % 8 == 0 or values <= MAX_DIRECT_VALUES):  # fmt: skip
            return "direct"
        elements = shape[0] * prod(sides) * (channels + out)
        if self._is_pointwise and channels * out <= MAX_LINEAR_WEIGHTS and elements <= MAX_POINTWISE_VALUES:
            return "pointwise"
        by_threes = self.kernel == (3, 3) and self.stride == (1, 1) and max(self.padding) <= 2
        fits = by_threes and channels * out <= MAX_WINOGRAD_WEIGHTS and 1 < max(sides) <= MAX_WINOGRAD_SIDE
        return "winograd" if fits and (max(sides) <= 4 or channels % 4 == out % 4 == 0) else ""

    @property
    def _is_pointwise(self) -> bool:
        """Whether it is a linear layer at each position."""
        return self.kernel == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0)

    def emit(self, context: EmitContext, x: ArgRef) -> tuple[ArgRef, EmitBackward]:
        if self._algorithm(context.shape) == "pointwise":
            return self._emit_linear(context, x)
        out = self.channels[0]
        weight, has_bias = context.params[0], self.has_bias and context.lane not in self.without_bias
        bias = context.params[1] if has_bias else context.calls.zeros(out)
        y = context.output((context.shape[0], out, *self._sides(context.shape)), x)
        is_direct = self._algorithm(context.shape) == "direct"
        (function, scratch), counts = self._direct(context, "forward") if is_direct else self._winograd(context, "forward")  # fmt: skip
        context.call(function, x, weight, bias, y, context.calls.scratch(scratch), *counts)

        def direct_backward(context: EmitContext, grad: ArgRef, wanted: bool) -> ArgRef:
            (function, scratch), counts = self._direct(context, "backward")
            grads = context.grads[0], context.grads[1] if has_bias else NULL
            # It computes both gradients: one that is not needed goes to scratch memory.
            workspace, unused = context.calls.scratch_parts(scratch, prod(self.channels) * prod(self.kernel))
            context.call(function, grad, x, *(target or unused for target in grads), workspace, *counts)
            if not wanted:
                return grad
            (function, scratch), counts = self._direct(context, "backward_to_x")
            grad_x = context.output(context.shape, grad)
            context.call(function, grad, weight, grad_x, context.calls.scratch(scratch), *counts)
            return grad_x

        def winograd_backward(context: EmitContext, grad: ArgRef, wanted: bool) -> ArgRef:
            (function, scratch), counts = self._winograd(context, "backward")
            grads = context.grads[0], context.grads[1] if has_bias else NULL
            grad_x = context.output_if(wanted, context.shape, grad)
            workspace = context.calls.scratch(scratch)
            context.call(function, grad, x, weight, grad_x, *grads, workspace, *counts)
            return grad_x

        return y, direct_backward if is_direct else winograd_backward

    def _emit_linear(self, context: EmitContext, x: ArgRef) -> tuple[ArgRef, EmitBackward]:
        """Emit a 1×1 convolution as a linear layer whose rows are the positions: values lie channels-last."""
        op = LinearOp(self.channels[1], self.channels[0], self.has_bias, self.without_bias)
        y, emit_backward = op.emit(replace(context, shape=nhwc_shape(context.shape)), x)

        def backward(context: EmitContext, grad: ArgRef, wanted: bool) -> ArgRef:
            return emit_backward(replace(context, shape=nhwc_shape(context.shape)), grad, wanted)

        return y, backward

    def _direct(self, context: EmitContext, name: str) -> tuple[tuple[Function, int], tuple[int, ...]]:
        """(the function `name` and its number of scratch floats, the counts that it is called with)"""
        from ablate.kernels.compiled import direct_convolution

        examples, channels, height, width = context.shape
        out, inputs = self.channels
        sizes = direct_convolution.Sizes(inputs, out, self.kernel, self.stride, self.padding, (height, width))
        strides = (0, height * width * channels, 1, width * channels, channels)
        return getattr(direct_convolution, name)(sizes), (1, examples, *strides)

    def _winograd(self, context: EmitContext, name: str) -> tuple[tuple[Function, int], tuple[int, ...]]:
        """The Winograd function `name`, for maps of one tile or of several."""
        from ablate.kernels.compiled import tiled_winograd, winograd
        from ablate.kernels.compiled.winograd_transforms import tile_of

        (out, channels), (examples, _, height, width) = self.channels, context.shape
        if all(side + 2 * pad <= 6 for side, pad in zip((height, width), self.padding, strict=True)):
            tile = tile_of(height, width, self.padding)
            return getattr(winograd, name)(tile, channels, out), (1, examples)
        return getattr(tiled_winograd, name)(
            tiled_winograd.grid_of(height, width, self.padding), channels, out
        ), (
            1,
            examples,
        )

    def eager(self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor:
        weight = params[0]
        biases = masked_bias(params[1], self.without_bias) if self.has_bias else [None] * len(x)
        lanes = zip(x, weight, biases, strict=True)
        return torch.stack([torch.conv2d(*lane, self.stride, self.padding) for lane in lanes])


@dataclass(frozen=True)
class Convolution1dOp:
    """`nn.Conv1d` with stride 1 and no padding on `[B, T, C]`: with `[O, C, S]`, `[O]` -> `[B, T − S + 1, O]`."""

    channels: int
    outputs: int
    size: int
    has_bias: bool

    num_buffers = 0

    @property
    def num_params(self) -> int:
        return 1 + self.has_bias

    def output_shape(self, shape: Shape, *, channels_last: bool) -> Shape | None:
        if (
            len(shape) != 3
            or shape[1] < self.size
            or self.channels * self.size * self.outputs > MAX_LINEAR_WEIGHTS
        ):
            return None
        return (shape[0], shape[1] - self.size + 1, self.outputs)

    def emit(self, context: EmitContext, x: ArgRef) -> tuple[ArgRef, EmitBackward]:
        from ablate.kernels.compiled import convolution_1d

        sizes, (examples, steps, _) = (self.channels, self.outputs, self.size), context.shape
        bias = context.params[1] if self.has_bias else context.calls.zeros(self.outputs)
        y = context.output((examples, steps - self.size + 1, self.outputs), x)
        function, numbers = convolution_1d.forward(*sizes)
        context.call(
            function, x, context.params[0], bias, y, context.calls.scratch(numbers), 1, examples, steps
        )

        def backward(context: EmitContext, grad: ArgRef, wanted: bool) -> ArgRef:
            function, numbers = convolution_1d.backward(*sizes)
            numbers += convolution_1d.padded_elements(self.outputs, self.size, steps)
            grad_x = context.output_if(wanted, context.shape, grad)
            grads = context.grads[0], context.grads[1] if self.has_bias else 0
            scratch = context.calls.scratch(numbers)
            context.call(function, grad, x, context.params[0], grad_x, *grads, scratch, 1, examples, steps)
            return grad_x

        return y, backward

    def eager(self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor:
        weight = params[0].transpose(2, 3).flatten(2).mT
        wide = x.flatten(2).unfold(2, self.size * self.channels, self.channels)
        y = product(wide.flatten(1, 2), weight).view(*x.shape[:2], -1, self.outputs)
        return y + params[1][:, None, None] if self.has_bias else y
