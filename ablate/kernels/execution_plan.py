"""The calls of a fused op, forward and backward, for tensors of given shapes and strides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from ablate.kernels.call_plan import FLOAT_BYTES, NULL, ArgRef, CallPlan, CallPlanBuilder, Region
from ablate.kernels.compiled_op import CompiledOp, EmitBackward, EmitContext, Shape, nhwc_shape

ONE = torch.ones(1)
MOST = 0.5
"""The share of a matrix's columns from which on their gradients are columns of a matrix: zeros in all of it cost more than a copy of a few."""


@dataclass
class GradMatrix:
    """Tensors that are columns of one matrix `[K, P]`: their gradients are columns of another. `members`: which tensors; `columns`: theirs."""

    rows: int
    width: int
    members: list[int] = field(default_factory=list)
    columns: list[range] = field(default_factory=list)


class ExecutionPlan:
    """Forward and backward pass of `ops` for tensors like these; `need` as `FusedOp.plan`.

    Raises TypeError for parameters that are not float32.
    """

    def __init__(
        self,
        ops: Sequence[CompiledOp],
        x: Tensor,
        params: Sequence[Tensor],
        buffers: Sequence[Tensor],
        need: Sequence[bool],
    ) -> None:
        for tensor in params:
            if tensor.dtype != torch.float32:
                raise TypeError(f"compiled layers have float32 weights, not {tensor.dtype}")
        self.ops, self.lanes, self.need = ops, len(x), tuple(need)
        tensors = (*params, *buffers)
        self._copied = [i for i, tensor in enumerate(tensors) if not tensor[0].is_contiguous()]
        dense = self._contiguous(tensors)
        self._lane_bytes = [tensor.stride(0) * tensor.element_size() for tensor in dense]
        self._num_params = len(params)
        self.matrices, self._separate = self._grad_layout(dense[: len(params)])
        self._grad_lane_bytes = [
            tensor[0].numel() * FLOAT_BYTES if i in self._separate else self._lane_bytes[i]
            for i, tensor in enumerate(params)
        ]
        shape = x.shape if x.ndim != 5 else (*x.shape[:2], x.shape[-1], *x.shape[2:4])
        self.shapes: list[Shape] = [tuple(shape[1:])]
        self._first_param = [sum(op.num_params for op in ops[:i]) for i in range(len(ops) + 1)]
        for op in ops:
            output = op.output_shape(self.shapes[-1], channels_last=True)
            assert output is not None, "the ops were fused for other shapes"
            self.shapes.append(output)
        self._x_lane_bytes = x.stride(0) * FLOAT_BYTES
        self._backward_emitters: list[list[EmitBackward]] = []
        self._forward = self._emit_forward()
        self._backward = self._emit_backward() if any(need) else None

    def forward(
        self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """`x` in NHWC -> (y in NHWC, the workspace, which the backward pass needs)."""
        y = x.new_empty(self.lanes, *nhwc_shape(self.shapes[-1]))
        workspace = torch.empty(self._forward.workspace_bytes, dtype=torch.uint8)
        tensors = self._contiguous((*params, *buffers))
        self._forward.run(
            workspace.data_ptr(), x.data_ptr(), y.data_ptr(), 0, [tensor.data_ptr() for tensor in tensors]
        )
        return y, workspace

    def backward(
        self, x: Tensor, workspace: Tensor, grad: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """The gradients of x (in NHWC) and of `params`; None where none is needed."""
        assert self._backward is not None
        tensors = self._contiguous((*params, *buffers))
        grad_x = x.new_empty(self.lanes, *nhwc_shape(self.shapes[0])) if self.need[0] else None
        grads: list[Tensor | None] = [None] * len(params)
        for matrix in self.matrices:
            whole = x.new_zeros(matrix.rows * matrix.width)
            for i in matrix.members:
                grads[i] = whole.as_strided(params[i].shape, params[i].stride(), params[i].storage_offset())
        for i in self._separate:
            grads[i] = x.new_zeros(params[i].shape)
        addresses = [0 if tensor is None else tensor.data_ptr() for tensor in (*tensors, *grads)]
        self._backward.run(
            workspace.data_ptr(),
            x.data_ptr(),
            grad.data_ptr(),
            0 if grad_x is None else grad_x.data_ptr(),
            addresses,
        )
        return [grad_x, *grads]

    def _contiguous(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """A copy with every lane contiguous, unless it already is."""
        if not self._copied:
            return tensors
        return [tensor.contiguous() if i in self._copied else tensor for i, tensor in enumerate(tensors)]

    def _grad_layout(self, params: Sequence[Tensor]) -> tuple[list[GradMatrix], list[int]]:
        """Where parameters' gradients go: the matrices of which they are columns, and those with a separate gradient tensor."""
        matrices: dict[int, GradMatrix] = {}
        separate: list[int] = []
        for i, (tensor, needed) in enumerate(zip(params, self.need[1:], strict=False)):
            if not needed:
                continue
            width, storage = tensor.stride(0), tensor.untyped_storage()
            columns = range(int(tensor.storage_offset()), int(tensor.storage_offset()) + tensor[0].numel())
            matrix = matrices.setdefault(storage.data_ptr(), GradMatrix(self.lanes, width))
            is_matrix = storage.nbytes() == self.lanes * width * FLOAT_BYTES and width == matrix.width
            overlaps = any(columns.start < o.stop and o.start < columns.stop for o in matrix.columns)
            if i in self._copied or not is_matrix or overlaps:
                separate.append(i)
                continue
            matrix.members.append(i)
            matrix.columns.append(columns)
        for matrix in matrices.values():
            if sum(map(len, matrix.columns)) < MOST * matrix.width:
                separate += matrix.members
                matrix.members.clear()
        return [matrix for matrix in matrices.values() if matrix.members], separate

    def _emit_forward(self) -> CallPlan:
        calls, y_bytes = CallPlanBuilder(saving=any(self.need)), prod(self.shapes[-1]) * FLOAT_BYTES
        for lane in range(self.lanes):
            calls.begin_lane()
            value = ArgRef(Region.X, lane * self._x_lane_bytes)
            y, emitters = ArgRef(Region.Y, lane * y_bytes), []
            for i, op in enumerate(self.ops):
                out = y if i + 1 == len(self.ops) else NULL
                value, emit_backward = op.emit(self._context(calls, lane, i, out), value)
                emitters.append(emit_backward)
            self._emit_copy(calls, value, y, self.shapes[-1])
            self._backward_emitters.append(emitters)
        return calls.build()

    def _emit_backward(self) -> CallPlan:
        calls, need = CallPlanBuilder(), list(self.need)
        x_bytes, y_bytes = (prod(shape) * FLOAT_BYTES for shape in (self.shapes[0], self.shapes[-1]))
        first = [1 + index for index in self._first_param]
        for lane, emitters in enumerate(self._backward_emitters):
            grad = ArgRef(Region.Y, lane * y_bytes)
            grad_x = ArgRef(Region.GRAD_X, lane * x_bytes) if self.need[0] else NULL
            for i in reversed(range(len(self.ops))):
                wanted = any(need[: first[i]])
                if not wanted and not any(need[first[i] : first[i + 1]]):
                    break
                grad = emitters[i](self._context(calls, lane, i, grad_x if i == 0 else NULL), grad, wanted)
            if grad_x:
                self._emit_copy(calls, grad, grad_x, self.shapes[0])
        return calls.build()

    def _context(self, calls: CallPlanBuilder, lane: int, number: int, out: ArgRef) -> EmitContext:
        """The emission context of one lane of the op `number`."""
        op, first = self.ops[number], self._first_param[number]
        first_buffer = self._num_params + sum(before.num_buffers for before in self.ops[:number])
        indices = range(first, first + op.num_params)

        def tensor(i: int) -> ArgRef:
            return ArgRef(Region.TENSORS + i, lane * self._lane_bytes[i])

        def grad(i: int) -> ArgRef:
            region = Region.TENSORS + len(self._lane_bytes) + i
            return ArgRef(region, lane * self._grad_lane_bytes[i]) if self.need[1 + i] else NULL

        return EmitContext(
            calls=calls,
            lane=lane,
            shape=self.shapes[number],
            params=[tensor(i) for i in indices],
            buffers=[tensor(i) for i in range(first_buffer, first_buffer + op.num_buffers)],
            grads=[grad(i) for i in indices] if self.need else [],
            out=out,
        )

    def _emit_copy(self, calls: CallPlanBuilder, source: ArgRef, target: ArgRef, shape: Shape) -> None:
        if source != target:
            from ablate.kernels.compiled.relu import leaky_relu

            calls.call(leaky_relu(backward=False), source, calls.constant(ONE), target, 1, prod(shape))
