"""What compiled code needs to know of a layer: its output shape and, for each lane, the functions to call forward and backward.

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
"""Of one lane's values, `[B, …]`."""


@dataclass(frozen=True)
class EmitContext:
    """Where an op emits the calls of one lane, in one direction. All references are to that lane's data.

    `shape`: of the input x. `params`, `buffers`: the op's tensors. `grads`: in a backward pass, where the gradients of `params` go (NULL:
    not wanted); that memory holds zeros. `out`: where the result has to be; NULL: anywhere.
    """

    calls: CallPlanBuilder
    lane: int
    shape: Shape
    params: Sequence[ArgRef]
    buffers: Sequence[ArgRef]
    grads: Sequence[ArgRef] = ()
    out: ArgRef = NULL

    def call(self, function: Function, *arguments: Argument) -> None:
        self.calls.call(function, *arguments)

    def output(self, shape: Shape, source: ArgRef) -> ArgRef:
        """Memory for the result, which is computed from what is at `source`."""
        return self.out or self.calls.temporary(prod(shape), source)

    def output_if(self, wanted: bool, shape: Shape, source: ArgRef) -> ArgRef:
        """The same for a gradient that may not be wanted: NULL then."""
        return self.output(shape, source) if wanted else NULL


EmitBackward = Callable[[EmitContext, ArgRef, bool], ArgRef]
"""Emits the backward pass: (context, where the gradient of y is, whether that of x is wanted) -> where the gradient of x is."""


class CompiledOp(Protocol):
    """A layer of K lanes, called with `num_params` tensors `[K, …]` that may require gradients and `num_buffers` that do not."""

    @property
    def num_params(self) -> int: ...
    @property
    def num_buffers(self) -> int: ...

    def output_shape(self, shape: Shape, *, channels_last: bool) -> Shape | None:
        """The shape of y; None where compiled code cannot take such x. `channels_last`: whether feature maps lie so in memory."""
        ...

    def emit(self, context: EmitContext, x: ArgRef) -> tuple[ArgRef, EmitBackward]:
        """Emit one lane's forward calls; returns where y is, and what emits the backward calls."""
        ...

    def eager(self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor:
        """y of all lanes by torch's differentiable operators, for gradients of gradients."""
        ...


@dataclass(frozen=True)
class LayerOp:
    """One layer of a sequence. `eager` runs it by torch's operators; `compiled`, if any, by compiled code with the tensors that
    `params` and `buffers` return at the time."""

    eager: Callable[[Tensor], Tensor]
    compiled: CompiledOp | None = None
    params: Callable[[], Sequence[Tensor]] = tuple
    buffers: Callable[[], Sequence[Tensor]] = tuple


def nhwc_shape(shape: Shape) -> Shape:
    """One lane's values as they lie in memory: feature maps `[B, H, W, C]`."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


def to_nhwc(x: Tensor) -> Tensor:
    """`[K, B, …]` as compiled code takes it: feature maps `[K, B, H, W, C]`, every lane contiguous."""
    moved = x.movedim(2, -1) if x.ndim == 5 else x
    return moved if moved[0].is_contiguous() else moved.contiguous()


def to_nchw(x: Tensor) -> Tensor:
    """Feature maps `[K, B, H, W, C]` as torch has them, `[K, B, C, H, W]`: a view."""
    return x.movedim(-1, 2) if x.ndim == 5 else x
