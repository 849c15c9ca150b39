"""The layers that compiled code runs, as links of a chain: which functions each lane calls, and where that pays.

Those that depend on the lane hold a value for each; see `chain` for what a link is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ablate.kernels.batched_matmul import product
from ablate.kernels.fused import Back, Shape
from ablate.seams.draws import STARTS, keep_masks, windows

if TYPE_CHECKING:
    from ablate.kernels.call_plan import ArgRef
    from ablate.kernels.compiled.jit import Function
    from ablate.kernels.memory_plan import Lane

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
WEIGHTS = 2**14
"""Of a linear layer: of larger ones BLAS's products are as fast, of smaller ones 1.1 to 3.5 times slower (12 layers, 17 lanes)."""
WINDOW = 16
"""Places of a pooling window, which are written out one by one."""
CURVES = {nn.GELU: "gelu", nn.SiLU: "silu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}
KEEP_ALL = -(2**15)
"""The least 16-bit number: dropout that drops nothing."""


@dataclass(frozen=True)
class Same(Generic[T]):
    """What is the same for every lane."""

    value: T

    def __getitem__(self, lane: int) -> T:
        return self.value


class Each(Protocol[T_co]):
    """What there is one of for every lane."""

    def __getitem__(self, lane: int, /) -> T_co: ...


def passed(lane: Lane, gradient: ArgRef, wanted: bool) -> ArgRef:
    """The way back of a layer that leaves a lane as it is."""
    return gradient


@dataclass(frozen=True)
class LinearOp:
    """x Wᵀ + b: `[B, …, I]`, `[O, I]`, `[O]` -> `[B, …, O]`. `biased`: whether there are biases at all; those of the lanes `without` are left out."""

    inputs: int
    outputs: int
    biased: bool
    without: frozenset[int] = frozenset()

    held = 0

    @property
    def tensors(self) -> int:
        return 1 + self.biased

    def fits(self, shape: Shape, *, innermost: bool) -> Shape | None:
        if len(shape) == 4 or self.inputs * self.outputs > WEIGHTS:
            return None
        return (*shape[:-1], self.outputs)

    def write(self, lane: Lane, x: ArgRef) -> tuple[ArgRef, Back]:
        from ablate.kernels.compiled import linear

        biased, rows = self.biased and lane.number not in self.without, prod(lane.shape[:-1])
        bias = lane.tensors[1] if biased else lane.calls.zeros(self.outputs)
        y = lane.result((*lane.shape[:-1], self.outputs), x)
        function, numbers = linear.forward(self.inputs, self.outputs)
        lane.call(function, x, lane.tensors[0], bias, y, lane.calls.scratch(numbers), 1, rows)

        def back(lane: Lane, gradient: ArgRef, wanted: bool) -> ArgRef:
            function, numbers = linear.backward(self.inputs, self.outputs)
            to_x = lane.into(lane.shape, gradient, wanted=wanted)
            to = lane.gradients[0], lane.gradients[1] if biased else 0
            lane.call(function, gradient, x, lane.tensors[0], to_x, *to, lane.calls.scratch(numbers), 1, rows)
            return to_x

        return y, back

    def differentiably(self, x: Tensor, tensors: Sequence[Tensor], held: Sequence[Tensor]) -> Tensor:
        y = product(x.flatten(1, -2), tensors[0].mT).view(*x.shape[:-1], -1)
        if not self.biased:
            return y
        shift = without(tensors[1], self.without)
        return y + shift.reshape(len(x), *[1] * (y.ndim - 2), -1)


def without(bias: Tensor, lanes: frozenset[int]) -> Tensor:
    """Biases `[K, O]`, those of some lanes 0."""
    kept = [lane not in lanes for lane in range(len(bias))]
    return bias * torch.tensor(kept, dtype=bias.dtype)[:, None]


@dataclass(frozen=True)
class ActivationOp:
    """Activations, `layers[lane]` being that lane's, each of a kind that `is_pointwise` knows. `[B, …]` -> the same shape."""

    layers: Each[nn.Module]

    tensors = held = 0

    def fits(self, shape: Shape, *, innermost: bool) -> Shape | None:
        return shape if innermost else None

    def write(self, lane: Lane, x: ArgRef) -> tuple[ArgRef, Back]:
        layer = self.layers[lane.number]
        if isinstance(layer, nn.Identity):
            return x, passed
        function, own = pointwise(layer, backward=False)
        slope = () if own is None else (lane.calls.fixed(own),)
        y, numbers = lane.result(lane.shape, x), prod(lane.shape)
        lane.call(function, x, *slope, y, 1, numbers)

        def back(lane: Lane, gradient: ArgRef, wanted: bool) -> ArgRef:
            to_x = lane.result(lane.shape, gradient)
            lane.call(pointwise(layer, backward=True)[0], x, *slope, gradient, to_x, 1, numbers)
            return to_x

        return y, back

    def differentiably(self, x: Tensor, tensors: Sequence[Tensor], held: Sequence[Tensor]) -> Tensor:
        return torch.stack([self.layers[lane](one) for lane, one in enumerate(x)])


def is_pointwise(layer: nn.Module) -> bool:
    return type(layer) in (nn.Identity, nn.ReLU, nn.LeakyReLU, *CURVES)


def pointwise(layer: nn.Module, *, backward: bool) -> tuple[Function, Tensor | None]:
    """A layer's function, and the slope below 0 that a rectifier is handed too."""
    from ablate.kernels.compiled.activations import curve
    from ablate.kernels.compiled.relu import rectified

    if isinstance(layer, nn.ReLU | nn.LeakyReLU):
        slope = layer.negative_slope if isinstance(layer, nn.LeakyReLU) else 0.0
        return rectified(backward=backward), torch.tensor([slope], dtype=torch.float32)
    kind = CURVES[type(layer)]
    tanh = isinstance(layer, nn.GELU) and layer.approximate == "tanh"
    return curve("gelu_tanh" if tanh else kind, backward=backward), None


@dataclass(frozen=True)
class DropoutOp:
    """y = x · keep · scale, in the lanes that are `active`; held: the lanes' key, least and scale, as `compiled.dropout` has them. `[B, …]`."""

    active: Each[bool]

    tensors, held = 0, 3

    def fits(self, shape: Shape, *, innermost: bool) -> Shape | None:
        return shape if innermost else None

    def write(self, lane: Lane, x: ArgRef) -> tuple[ArgRef, Back]:
        if not self.active[lane.number]:
            return x, passed
        y = self._write(lane, x)
        return y, lambda lane, gradient, wanted: self._write(lane, gradient)

    def _write(self, lane: Lane, x: ArgRef) -> ArgRef:
        """Forward and back: y is linear in x."""
        from ablate.kernels.compiled import dropout

        y, numbers, (key, least, scale) = lane.result(lane.shape, x), prod(lane.shape), lane.held
        tables = (lane.calls.fixed(table) for table in windows(numbers, torch.device("cpu")))
        lane.call(dropout.dropped(STARTS), x, scale, y, key, least, *tables, 1, numbers)
        return y

    def differentiably(self, x: Tensor, tensors: Sequence[Tensor], held: Sequence[Tensor]) -> Tensor:
        key, least, scale = held
        inside = x.movedim(2, -1) if x.ndim == 5 else x
        factor = keep_masks(key, least, tuple(inside.shape[1:])) * scale.reshape(-1, *[1] * (x.ndim - 1))
        return x * (factor.movedim(-1, 2) if x.ndim == 5 else factor)


@dataclass(frozen=True)
class MaxPoolOp:
    """`nn.MaxPool2d` whose windows lie side by side: `[B, C, H, W]` -> `[B, C, H', W']`."""

    window: tuple[int, int]

    tensors = held = 0

    def fits(self, shape: Shape, *, innermost: bool) -> Shape | None:
        if len(shape) != 4 or not innermost or prod(self.window) > WINDOW:
            return None
        sides = [side // length for side, length in zip(shape[2:], self.window, strict=True)]
        return (*shape[:2], *sides) if min(sides) > 0 else None

    def write(self, lane: Lane, x: ArgRef) -> tuple[ArgRef, Back]:
        from ablate.kernels.compiled.pooling import largest

        examples, channels, height, width = lane.shape
        about = self.window, (height, width), channels
        shape = (examples, channels, height // self.window[0], width // self.window[1])
        y = lane.result(shape, x)
        lane.call(largest(*about, backward=False), x, y, 1, examples)

        def back(lane: Lane, gradient: ArgRef, wanted: bool) -> ArgRef:
            to_x = lane.result(lane.shape, gradient)
            lane.call(largest(*about, backward=True), gradient, x, to_x, 1, examples)
            return to_x

        return y, back

    def differentiably(self, x: Tensor, tensors: Sequence[Tensor], held: Sequence[Tensor]) -> Tensor:
        y = torch.nn.functional.max_pool2d(x.flatten(0, 1), self.window)
        return y.view(*x.shape[:2], *y.shape[1:])


@dataclass(frozen=True)
class GlobalMeanOp:
    """`nn.AdaptiveAvgPool2d(1)`: `[B, C, H, W]` -> `[B, C, 1, 1]`."""

    tensors = held = 0

    def fits(self, shape: Shape, *, innermost: bool) -> Shape | None:
        return (*shape[:2], 1, 1) if len(shape) == 4 and innermost else None

    def write(self, lane: Lane, x: ArgRef) -> tuple[ArgRef, Back]:
        from ablate.kernels.compiled.pooling import mean

        examples, channels, *sides = lane.shape
        y = lane.result((examples, channels, 1, 1), x)
        lane.call(mean(prod(sides), channels, backward=False), x, y, 1, examples)

        def back(lane: Lane, gradient: ArgRef, wanted: bool) -> ArgRef:
            to_x = lane.result(lane.shape, gradient)
            lane.call(mean(prod(sides), channels, backward=True), gradient, to_x, 1, examples)
            return to_x

        return y, back

    def differentiably(self, x: Tensor, tensors: Sequence[Tensor], held: Sequence[Tensor]) -> Tensor:
        return x.mean(dim=(-2, -1), keepdim=True)


@dataclass(frozen=True)
class FlattenOp:
    """`nn.Flatten()`: maps `[B, C, H, W]` -> `[B, C · H · W]`."""

    tensors = held = 0

    def fits(self, shape: Shape, *, innermost: bool) -> Shape | None:
        return (shape[0], prod(shape[1:])) if innermost else None

    def write(self, lane: Lane, x: ArgRef) -> tuple[ArgRef, Back]:
        from ablate.kernels.compiled.flatten import turned

        examples, channels, *sides = lane.shape
        places = prod(sides)
        if len(sides) < 2 or places == 1 or channels == 1:  # as they lie already
            return x, passed
        y = lane.result((examples, channels * places), x)
        lane.call(turned(places, channels, back=False), x, y, 1, examples)

        def back(lane: Lane, gradient: ArgRef, wanted: bool) -> ArgRef:
            to_x = lane.result(lane.shape, gradient)
            lane.call(turned(places, channels, back=True), gradient, to_x, 1, examples)
            return to_x

        return y, back

    def differentiably(self, x: Tensor, tensors: Sequence[Tensor], held: Sequence[Tensor]) -> Tensor:
        return x.flatten(2)
