"""The description of a layer for compiled code: its output shape and, for each lane, the functions to call forward and backward.

Values of one lane are `[B, …]`, contiguous; feature maps `[B, C, H, W]` lie in memory as `[B, H, W, C]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from ablate.kernels.call_plan import NULL, ArgRef, Argument, CallPlanBuilder

if TYPE_CHECKING:  # importing it requires llvmlite
    from ablate.kernels.compiled.jit import Function

Shape = tuple[int, ...]
"""Shape of one lane's values, `[B, …]`."""


@dataclass(frozen=True)
class EmitContext:
    """The context in which an op emits the calls of one lane, in one direction. All references are to that lane's data.

    `shape`: of the input x. `params`, `buffers`: the op's tensors. `grads`: in a backward pass, the memory for the gradients of `params` (NULL:
    not needed), which holds zeros. `out`: the required memory of the result; NULL: any.
    """

    calls: CallPlanBuilder
    lane: int
    shape: Shape
    params: Sequence[ArgRef]
    buffers: Sequence[ArgRef]
    grads: Sequence[ArgRef] = ()
    out: ArgRef = NULL

    def call(self, function: Function, *arguments: Argument) -> None:
        """Append a call of `function` for this lane."""
        self.calls.call(function, *arguments)

    def output(self, shape: Shape, source: ArgRef) -> ArgRef:
        """Memory for the result of an operation on the values at `source`."""
        return self.out or self.calls.temporary(prod(shape), source)

    def output_if(self, wanted: bool, shape: Shape, source: ArgRef) -> ArgRef:
        """Memory for a gradient; NULL if it is not needed."""
        return self.output(shape, source) if wanted else NULL


EmitBackward = Callable[[EmitContext, ArgRef, bool], ArgRef]
"""Emits the backward pass: (context, reference to the gradient of y, whether that of x is needed) -> reference to the gradient of x."""


class CompiledOp(Protocol):
    """A layer of K lanes, called with `num_params` tensors `[K, …]` that may require gradients and `num_buffers` that do not."""

    @property
    def num_params(self) -> int:
        """Number of tensors that may require gradients."""
        ...

    @property
    def num_buffers(self) -> int:
        """Number of tensors without gradients."""
        ...

    def output_shape(self, shape: Shape, *, channels_last: bool) -> Shape | None:
        """The shape of y; None if compiled code does not support such x. `channels_last`: the memory format of feature maps."""
        ...

    def emit(self, context: EmitContext, x: ArgRef) -> tuple[ArgRef, EmitBackward]:
        """Emit one lane's forward calls; returns the reference to y and the emitter of the backward calls."""
        ...

    def eager(self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor:
        """y of all lanes by torch's differentiable operators, for double backward."""
        ...


@dataclass(frozen=True)
class LayerOp:
    """One layer of a sequence. `eager` runs it by torch's operators; `compiled`, if any, by compiled code with the tensors that
    `params` and `buffers` return at the time of the call."""

    eager: Callable[[Tensor], Tensor]
    compiled: CompiledOp | None = None
    params: Callable[[], Sequence[Tensor]] = tuple
    buffers: Callable[[], Sequence[Tensor]] = tuple


def nhwc_shape(shape: Shape) -> Shape:
    """Shape of one lane's values in memory order: feature maps are `[B, H, W, C]`."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


def to_nhwc(x: Tensor) -> Tensor:
    """`[K, B, …]` in the layout of compiled code: feature maps `[K, B, H, W, C]`, every lane contiguous."""
    moved = x.movedim(2, -1) if x.ndim == 5 else x
    return moved if moved[0].is_contiguous() else moved.contiguous()


def to_nchw(x: Tensor) -> Tensor:
    """Feature maps `[K, B, H, W, C]` as a view in torch's layout, `[K, B, C, H, W]`."""
    return x.movedim(-1, 2) if x.ndim == 5 else x
