"""Chains of layers that compiled code runs: one node of autograd's graph, one call, a lane at a time from the first layer to the last.

torch's engine and Python cost a layer of several lanes more than its arithmetic does. A `Link` says once, for every lane, which
compiled functions that lane's layer is; at a step only the places of tensors are told. A lane without a norm has none among its
calls, and its values stay in a core's cache from layer to layer. Chained or alone, a layer is the same functions, and so the same bits.

Values of one lane are `[B, …]`, contiguous; feature maps `[B, C, H, W]` have their channels innermost in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from ablate.kernels.compiled import is_used
from ablate.kernels.memory_format import is_innermost, match_layout

if TYPE_CHECKING:
    from ablate.kernels.call_plan import ArgRef
    from ablate.kernels.memory_plan import ExecutionPlan, Lane

Shape = tuple[int, ...]
"""Of one lane's values, `[B, …]`."""
Back = Callable[["Lane", "ArgRef", bool], "ArgRef"]
"""Writes the way back: (the lane, where the gradient of y is, whether that of x is wanted) -> where the gradient of x is."""
KNOWN = 64
"""Plans that a chain keeps."""


class CompiledOp(Protocol):
    """A layer of K lanes. It is called with `tensors` `[K, …]` that have gradients, and with others that are `held`: so many of each."""

    @property
    def tensors(self) -> int: ...
    @property
    def held(self) -> int: ...

    def fits(self, shape: Shape, *, innermost: bool) -> Shape | None:
        """The shape of y; None where compiled code does not take x. `innermost`: whether maps have their channels so."""
        ...

    def write(self, lane: Lane, x: ArgRef) -> tuple[ArgRef, Back]:
        """Write down what one lane's layer calls; returns where y is, and the way back."""
        ...

    def differentiably(self, x: Tensor, tensors: Sequence[Tensor], held: Sequence[Tensor]) -> Tensor:
        """y of all lanes, by operations of which each has a gradient."""
        ...


@dataclass(frozen=True)
class LayerOp:
    """A layer of a sequence. `run`: as torch does it; `link`: as compiled code does, with the `tensors` and those `held` as they are now."""

    run: Callable[[Tensor], Tensor]
    link: CompiledOp | None = None
    tensors: Callable[[], Sequence[Tensor]] = tuple
    held: Callable[[], Sequence[Tensor]] = tuple


def takes(x: Tensor) -> bool:
    """Whether compiled code computes with such values: float32 on a CPU, and not what autocast would have."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


class LayerOps:
    """Layers one after another: neighbours that compiled code takes as one chain, the others as torch does them."""

    def __init__(self, layer_ops: Sequence[LayerOp]) -> None:
        self.layer_ops = tuple(layer_ops)
        self._chains: dict[Any, FusedOp | None] = {}

    def __call__(self, x: Tensor) -> Tensor:
        first = 0
        while first < len(self.layer_ops):
            chain = self._chain(first, x)
            if chain is None:
                x = self.layer_ops[first].run(x)
                first += 1
                continue
            own = self.layer_ops[first : first + len(chain.links)]
            x = chain(
                x, [t for piece in own for t in piece.tensors()], [t for piece in own for t in piece.held()]
            )
            first += len(own)
        return x

    def _chain(self, first: int, x: Tensor) -> FusedOp | None:
        """Of the pieces from `first` on that take `x` one after another."""
        if not (is_used() and takes(x)):
            return None
        key = first, x.shape, is_innermost(x)
        if key not in self._chains:
            links = taking([piece.link for piece in self.layer_ops[first:]], x)
            self._chains[key] = FusedOp(links) if links else None
        return self._chains[key]


def taking(links: Sequence[CompiledOp | None], x: Tensor) -> list[CompiledOp]:
    """The first ones, as far as each takes what the one before it gives, beginning with `x` `[K, B, …]`."""
    found: list[CompiledOp] = []
    shape: Shape | None = tuple(x.shape[1:])
    innermost = x.ndim != 5 or is_innermost(x)
    for link in links:
        assert shape is not None
        if link is None or (shape := link.fits(shape, innermost=innermost)) is None:
            break
        found.append(link)
        innermost = True
    return found


class FusedOp:
    """Links one after another, and the plans of their calls that are known."""

    def __init__(self, links: Sequence[CompiledOp]) -> None:
        self.links = tuple(links)
        self._plans: dict[Any, ExecutionPlan] = {}

    def __call__(self, x: Tensor, tensors: Sequence[Tensor], held: Sequence[Tensor] = ()) -> Tensor:
        """`[K, B, …]` through all links; those of their `tensors` that require it get gradients."""
        if torch.is_grad_enabled() and (x.requires_grad or any(tensor.requires_grad for tensor in tensors)):
            # The last first: where a tensor comes more than once, its gradients are then added up as of layers by themselves.
            y: Tensor = _FusedFunction.apply(self, tuple(held), x, *reversed(tensors))  # type: ignore[no-untyped-call]
            return y
        inside = inside_of(x)
        return outside_of(self.plan(inside, tensors, held, ()).forward(inside, tensors, held)[0])

    def plan(
        self, x: Tensor, tensors: Sequence[Tensor], held: Sequence[Tensor], need: Sequence[bool]
    ) -> ExecutionPlan:
        """For tensors that lie in memory as these do. `need`: of which of x and the tensors the gradient is wanted; empty: no way back."""
        key = (
            x.shape,
            x.stride(0),
            tuple(need),
            *((tensor.stride(), tensor.storage_offset(), tensor.dtype) for tensor in (*tensors, *held)),
        )
        plan = self._plans.get(key)
        if plan is None:
            from ablate.kernels.memory_plan import ExecutionPlan

            if len(self._plans) == KNOWN:
                self._plans.clear()
            plan = self._plans[key] = ExecutionPlan(self.links, x, tensors, held, need)
        return plan

    def differentiably(self, x: Tensor, tensors: Sequence[Tensor], held: Sequence[Tensor]) -> Tensor:
        for link in self.links:
            x = link.differentiably(x, tensors[: link.tensors], held[: link.held])
            tensors, held = tensors[link.tensors :], held[link.held :]
        return x


class _FusedFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, chain: FusedOp, held: Sequence[Tensor], x: Tensor, *last_first: Tensor) -> Tensor:
        inside, tensors = inside_of(x), last_first[::-1]
        need = ctx.needs_input_grad[2], *ctx.needs_input_grad[:2:-1]
        ctx.plan = chain.plan(inside, tensors, held, need)
        y, workspace = ctx.plan.forward(inside, tensors, held)
        ctx.save_for_backward(x, *tensors)
        ctx.chain, ctx.held, ctx.kept = chain, held, (inside, workspace)
        return outside_of(y)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, *tensors), need = ctx.saved_tensors, ctx.plan.need
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            again = ctx.chain.differentiably(x, tensors, ctx.held)
            asked = [tensor for tensor, needed in zip((x, *tensors), need, strict=True) if needed]
            found = iter(torch.autograd.grad(again, asked, gradient, create_graph=True))
            to_x, *to = (next(found) if needed else None for needed in need)
            return None, None, to_x, *reversed(to)
        own = inside_of(gradient).contiguous()
        to_x, *to = ctx.plan.backward(*ctx.kept, own, tensors, ctx.held)
        return None, None, None if to_x is None else match_layout(outside_of(to_x), x), *reversed(to)


def inside_of(x: Tensor) -> Tensor:
    """`[K, B, …]` as compiled code wants it: maps `[K, B, H, W, C]`, every lane contiguous."""
    inside = x.movedim(2, -1) if x.ndim == 5 else x
    return inside if inside[0].is_contiguous() else inside.contiguous()


def outside_of(inside: Tensor) -> Tensor:
    """Maps as torch has them: `[K, B, C, H, W]`."""
    return inside.movedim(-1, 2) if inside.ndim == 5 else inside


def memory_of(shape: Shape) -> Shape:
    """One lane's values as they lie: maps `[B, H, W, C]`."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape
