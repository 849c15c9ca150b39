"""The compiled ops of layers (`compiled_op.CompiledOp`): which functions each lane calls, and for which sizes these are faster.

Settings that differ between lanes are sequences with a value for each lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ablate.kernels.batched_matmul import product
from ablate.kernels.call_plan import ArgRef
from ablate.kernels.compiled_op import EmitBackward, EmitContext, Shape
from ablate.seams.draws import STARTS, keep_masks, windows

if TYPE_CHECKING:
    from ablate.kernels.compiled.jit import Function

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
MAX_LINEAR_WEIGHTS = 2**14
"""BLAS is as fast on larger linear layers, and 1.1 to 3.5 times slower on smaller ones (12 layers, 17 lanes)."""
MAX_POOL_WINDOW = 16
"""Elements of a pooling window, over which the code is unrolled."""
SMOOTH_ACTIVATIONS = {nn.GELU: "gelu", nn.SiLU: "silu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}
KEEP_ALL = -(2**15)
"""The smallest int16, as a dropout threshold: nothing is dropped."""


@dataclass(frozen=True)
class Uniform(Generic[T]):
    """One value for every lane."""

    value: T

    def __getitem__(self, lane: int) -> T:
        return self.value


class LaneValues(Protocol[T_co]):
    """A value for each lane."""

    def __getitem__(self, lane: int, /) -> T_co: ...


def identity_backward(context: EmitContext, grad: ArgRef, wanted: bool) -> ArgRef:
    """Backward pass of an identity."""
    return grad


@dataclass(frozen=True)
class LinearOp:
    """x Wᵀ + b: `[B, …, I]`, `[O, I]`, `[O]` -> `[B, …, O]`. `has_bias`: whether there are biases at all; `without_bias`: lanes that skip it."""

    inputs: int
    outputs: int
    has_bias: bool
    without_bias: frozenset[int] = frozenset()

    num_buffers = 0

    @property
    def num_params(self) -> int:
        return 1 + self.has_bias

    def output_shape(self, shape: Shape, *, channels_last: bool) -> Shape | None:
        if len(shape) == 4 or self.inputs * self.outputs > MAX_LINEAR_WEIGHTS:
            return None
        return (*shape[:-1], self.outputs)

    def emit(self, context: EmitContext, x: ArgRef) -> tuple[ArgRef, EmitBackward]:
        from ablate.kernels.compiled import linear

        has_bias, rows = self.has_bias and context.lane not in self.without_bias, prod(context.shape[:-1])
        bias = context.params[1] if has_bias else context.calls.zeros(self.outputs)
        y = context.output((*context.shape[:-1], self.outputs), x)
        function, numbers = linear.forward(self.inputs, self.outputs)
        context.call(function, x, context.params[0], bias, y, context.calls.scratch(numbers), 1, rows)

        def backward(context: EmitContext, grad: ArgRef, wanted: bool) -> ArgRef:
            function, numbers = linear.backward(self.inputs, self.outputs)
            grad_x = context.output_if(wanted, context.shape, grad)
            grads = context.grads[0], context.grads[1] if has_bias else 0
            context.call(
                function, grad, x, context.params[0], grad_x, *grads, context.calls.scratch(numbers), 1, rows
            )
            return grad_x

        return y, backward

    def eager(self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor:
        y = product(x.flatten(1, -2), params[0].mT).view(*x.shape[:-1], -1)
        if not self.has_bias:
            return y
        shift = masked_bias(params[1], self.without_bias)
        return y + shift.reshape(len(x), *[1] * (y.ndim - 2), -1)


def masked_bias(bias: Tensor, lanes: frozenset[int]) -> Tensor:
    """Biases `[K, O]`, with zeros in these lanes."""
    kept = [lane not in lanes for lane in range(len(bias))]
    return bias * torch.tensor(kept, dtype=bias.dtype)[:, None]


@dataclass(frozen=True)
class ActivationOp:
    """Activations, `layers[lane]` for each lane, of types that `is_compiled_activation` accepts. `[B, …]` -> the same shape."""

    layers: LaneValues[nn.Module]

    num_params = num_buffers = 0

    def output_shape(self, shape: Shape, *, channels_last: bool) -> Shape | None:
        return shape if channels_last else None

    def emit(self, context: EmitContext, x: ArgRef) -> tuple[ArgRef, EmitBackward]:
        layer = self.layers[context.lane]
        if isinstance(layer, nn.Identity):
            return x, identity_backward
        function, own_slope = activation_function(layer, backward=False)
        slope = () if own_slope is None else (context.calls.constant(own_slope),)
        y, numbers = context.output(context.shape, x), prod(context.shape)
        context.call(function, x, *slope, y, 1, numbers)

        def backward(context: EmitContext, grad: ArgRef, wanted: bool) -> ArgRef:
            grad_x = context.output(context.shape, grad)
            context.call(activation_function(layer, backward=True)[0], x, *slope, grad, grad_x, 1, numbers)
            return grad_x

        return y, backward

    def eager(self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor:
        return torch.stack([self.layers[lane](one) for lane, one in enumerate(x)])


def is_compiled_activation(layer: nn.Module) -> bool:
    """Whether compiled code has this activation."""
    return type(layer) in (nn.Identity, nn.ReLU, nn.LeakyReLU, *SMOOTH_ACTIVATIONS)


def activation_function(layer: nn.Module, *, backward: bool) -> tuple[Function, Tensor | None]:
    """The compiled function of an activation, and the negative slope for (leaky) ReLU."""
    from ablate.kernels.compiled.activations import activation
    from ablate.kernels.compiled.relu import leaky_relu

    if isinstance(layer, nn.ReLU | nn.LeakyReLU):
        slope = layer.negative_slope if isinstance(layer, nn.LeakyReLU) else 0.0
        return leaky_relu(backward=backward), torch.tensor([slope], dtype=torch.float32)
    kind = SMOOTH_ACTIVATIONS[type(layer)]
    tanh = isinstance(layer, nn.GELU) and layer.approximate == "tanh"
    return activation("gelu_tanh" if tanh else kind, backward=backward), None


@dataclass(frozen=True)
class DropoutOp:
    """y = x · keep · scale, in lanes that are `active`; buffers: key, least and scale, as in `compiled.dropout`. `[B, …]`."""

    active: LaneValues[bool]

    num_params, num_buffers = 0, 3

    def output_shape(self, shape: Shape, *, channels_last: bool) -> Shape | None:
        return shape if channels_last else None

    def emit(self, context: EmitContext, x: ArgRef) -> tuple[ArgRef, EmitBackward]:
        if not self.active[context.lane]:
            return x, identity_backward
        y = self._emit(context, x)
        return y, lambda context, grad, wanted: self._emit(context, grad)

    def _emit(self, context: EmitContext, x: ArgRef) -> ArgRef:
        """Forward and backward: y is linear in x."""
        from ablate.kernels.compiled import dropout

        y, numbers, (key, least, scale) = (
            context.output(context.shape, x),
            prod(context.shape),
            context.buffers,
        )
        tables = (context.calls.constant(table) for table in windows(numbers, torch.device("cpu")))
        context.call(dropout.dropout(STARTS), x, scale, y, key, least, *tables, 1, numbers)
        return y

    def eager(self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor:
        key, least, scale = buffers
        inside = x.movedim(2, -1) if x.ndim == 5 else x
        factor = keep_masks(key, least, tuple(inside.shape[1:])) * scale.reshape(-1, *[1] * (x.ndim - 1))
        return x * (factor.movedim(-1, 2) if x.ndim == 5 else factor)


@dataclass(frozen=True)
class MaxPoolOp:
    """`nn.MaxPool2d` with disjoint windows: `[B, C, H, W]` -> `[B, C, H', W']`."""

    window: tuple[int, int]

    num_params = num_buffers = 0

    def output_shape(self, shape: Shape, *, channels_last: bool) -> Shape | None:
        if len(shape) != 4 or not channels_last or prod(self.window) > MAX_POOL_WINDOW:
            return None
        sides = [side // length for side, length in zip(shape[2:], self.window, strict=True)]
        return (*shape[:2], *sides) if min(sides) > 0 else None

    def emit(self, context: EmitContext, x: ArgRef) -> tuple[ArgRef, EmitBackward]:
        from ablate.kernels.compiled.pooling import max_pool

        examples, channels, height, width = context.shape
        sizes = self.window, (height, width), channels
        shape = (examples, channels, height // self.window[0], width // self.window[1])
        y = context.output(shape, x)
        context.call(max_pool(*sizes, backward=False), x, y, 1, examples)

        def backward(context: EmitContext, grad: ArgRef, wanted: bool) -> ArgRef:
            grad_x = context.output(context.shape, grad)
            context.call(max_pool(*sizes, backward=True), grad, x, grad_x, 1, examples)
            return grad_x

        return y, backward

    def eager(self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor:
        y = torch.nn.functional.max_pool2d(x.flatten(0, 1), self.window)
        return y.view(*x.shape[:2], *y.shape[1:])


@dataclass(frozen=True)
class GlobalMeanOp:
    """`nn.AdaptiveAvgPool2d(1)`: `[B, C, H, W]` -> `[B, C, 1, 1]`."""

    num_params = num_buffers = 0

    def output_shape(self, shape: Shape, *, channels_last: bool) -> Shape | None:
        return (*shape[:2], 1, 1) if len(shape) == 4 and channels_last else None

    def emit(self, context: EmitContext, x: ArgRef) -> tuple[ArgRef, EmitBackward]:
        from ablate.kernels.compiled.pooling import global_mean

        examples, channels, *sides = context.shape
        y = context.output((examples, channels, 1, 1), x)
        context.call(global_mean(prod(sides), channels, backward=False), x, y, 1, examples)

        def backward(context: EmitContext, grad: ArgRef, wanted: bool) -> ArgRef:
            grad_x = context.output(context.shape, grad)
            context.call(global_mean(prod(sides), channels, backward=True), grad, grad_x, 1, examples)
            return grad_x

        return y, backward

    def eager(self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor:
        return x.mean(dim=(-2, -1), keepdim=True)


@dataclass(frozen=True)
class FlattenOp:
    """`nn.Flatten()`: maps `[B, C, H, W]` -> `[B, C · H · W]`."""

    num_params = num_buffers = 0

    def output_shape(self, shape: Shape, *, channels_last: bool) -> Shape | None:
        return (shape[0], prod(shape[1:])) if channels_last else None

    def emit(self, context: EmitContext, x: ArgRef) -> tuple[ArgRef, EmitBackward]:
        from ablate.kernels.compiled.flatten import transposed

        examples, channels, *sides = context.shape
        positions = prod(sides)
        if len(sides) < 2 or positions == 1 or channels == 1:  # the same order in memory
            return x, identity_backward
        y = context.output((examples, channels * positions), x)
        context.call(transposed(positions, channels, backward=False), x, y, 1, examples)

        def backward(context: EmitContext, grad: ArgRef, wanted: bool) -> ArgRef:
            grad_x = context.output(context.shape, grad)
            context.call(transposed(positions, channels, backward=True), grad, grad_x, 1, examples)
            return grad_x

        return y, backward

    def eager(self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor:
        return x.flatten(2)
