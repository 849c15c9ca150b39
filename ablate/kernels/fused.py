"""Fused ops: neighbouring layers that compiled code runs as one autograd node and one call from Python.

For a small layer, Python and autograd cost more than the arithmetic. An `ExecutionPlan` lists, once, the compiled
functions that each lane calls; a step only fills in the addresses of its tensors. Lanes run one after another from the first layer to
the last, so that a lane's values stay in a core's cache, and a lane without a norm makes no call for one. A layer calls the same
functions fused or alone, and so gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ablate.kernels.compiled import is_enabled
from ablate.kernels.compiled_op import CompiledOp, LayerOp, Shape, to_nchw, to_nhwc
from ablate.kernels.execution_plan import ExecutionPlan
from ablate.kernels.memory_format import is_channels_last, match_layout

MAX_PLANS = 64
"""Number of plans that a fused op caches."""


def is_compilable(x: Tensor) -> bool:
    """Whether compiled code supports such values: float32 on a CPU, outside autocast."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


class LayerOps:
    """Layers one after another: compilable neighbours as one fused op, the others by torch's operators."""

    def __init__(self, layer_ops: Sequence[LayerOp]) -> None:
        self.layer_ops = tuple(layer_ops)
        self._fused: dict[Any, FusedOp | None] = {}

    def __call__(self, x: Tensor) -> Tensor:
        first = 0
        while first < len(self.layer_ops):
            fused = self._fused_from(first, x)
            if fused is None:
                x = self.layer_ops[first].eager(x)
                first += 1
                continue
            members = self.layer_ops[first : first + len(fused.ops)]
            params = [tensor for op in members for tensor in op.params()]
            buffers = [tensor for op in members for tensor in op.buffers()]
            x = fused(x, params, buffers)
            first += len(members)
        return x

    def _fused_from(self, first: int, x: Tensor) -> FusedOp | None:
        """The consecutive layers from `first` on that compiled code supports, starting with `x`."""
        if not (is_enabled() and is_compilable(x)):
            return None
        key = first, x.shape, is_channels_last(x)
        if key not in self._fused:
            ops = compilable_prefix([layer_op.compiled for layer_op in self.layer_ops[first:]], x)
            self._fused[key] = FusedOp(ops) if ops else None
        return self._fused[key]


def compilable_prefix(ops: Sequence[CompiledOp | None], x: Tensor) -> list[CompiledOp]:
    """The longest prefix of ops of which each supports the output of the previous one, starting with `x` `[K, B, …]`."""
    prefix: list[CompiledOp] = []
    shape: Shape | None = tuple(x.shape[1:])
    channels_last = x.ndim != 5 or is_channels_last(x)
    for op in ops:
        assert shape is not None
        if op is None or (shape := op.output_shape(shape, channels_last=channels_last)) is None:
            break
        prefix.append(op)
        channels_last = True
    return prefix


class FusedOp:
    """Compiled ops one after another, with the plans made for them so far."""

    def __init__(self, ops: Sequence[CompiledOp]) -> None:
        self.ops = tuple(ops)
        self._plans: dict[Any, ExecutionPlan] = {}

    def __call__(self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor] = ()) -> Tensor:
        """`[K, B, …]` through all ops; `x` and those of `params` that require it get gradients."""
        if torch.is_grad_enabled() and (x.requires_grad or any(tensor.requires_grad for tensor in params)):
            # Last first: autograd then sums the gradients of a tensor that occurs twice in the order of separate layers.
            y: Tensor = _FusedFunction.apply(self, tuple(buffers), x, *reversed(params))  # type: ignore[no-untyped-call]
            return y
        x = to_nhwc(x)
        return to_nchw(self.plan(x, params, buffers, ()).forward(x, params, buffers)[0])

    def plan(
        self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor], need: Sequence[bool]
    ) -> ExecutionPlan:
        """The plan for tensors of these shapes and strides. `need`: which of x and `params` need a gradient; empty: no backward pass."""
        key = (
            x.shape,
            x.stride(0),
            tuple(need),
            *((tensor.stride(), tensor.storage_offset(), tensor.dtype) for tensor in (*params, *buffers)),
        )
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) == MAX_PLANS:
                self._plans.clear()
            plan = self._plans[key] = ExecutionPlan(self.ops, x, params, buffers, need)
        return plan

    def eager(self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor:
        """y of all lanes by torch's differentiable operators, layer by layer."""
        for op in self.ops:
            x = op.eager(x, params[: op.num_params], buffers[: op.num_buffers])
            params, buffers = params[op.num_params :], buffers[op.num_buffers :]
        return x


class _FusedFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, op: FusedOp, buffers: Sequence[Tensor], x: Tensor, *last_first: Tensor) -> Tensor:
        nhwc, params = to_nhwc(x), last_first[::-1]
        need = ctx.needs_input_grad[2], *ctx.needs_input_grad[:2:-1]
        ctx.plan = op.plan(nhwc, params, buffers, need)
        y, workspace = ctx.plan.forward(nhwc, params, buffers)
        ctx.save_for_backward(x, *params)
        ctx.op, ctx.buffers, ctx.saved = op, buffers, (nhwc, workspace)
        return to_nchw(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, *params), need = ctx.saved_tensors, ctx.plan.need
        if torch.is_grad_enabled():  # double backward
            y = ctx.op.eager(x, params, ctx.buffers)
            wanted = [tensor for tensor, needed in zip((x, *params), need, strict=True) if needed]
            computed = iter(torch.autograd.grad(y, wanted, grad, create_graph=True))
            grad_x, *grads = (next(computed) if needed else None for needed in need)
            return None, None, grad_x, *reversed(grads)
        grad_x, *grads = ctx.plan.backward(*ctx.saved, to_nhwc(grad).contiguous(), params, ctx.buffers)
        grad_x = None if grad_x is None else match_layout(to_nchw(grad_x), x)
        return None, None, grad_x, *reversed(grads)
