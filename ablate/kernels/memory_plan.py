"""What a chain calls for tensors that lie in memory in one way: forward, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from ablate.kernels.call_plan import FLOAT, NOWHERE, ArgRef, Argument, Calls, Region
from ablate.kernels.compiled.jit import Function
from ablate.kernels.compiled.relu import rectified
from ablate.kernels.fused import Back, CompiledOp, Shape, memory_of

ONE = torch.ones(1)


@dataclass(frozen=True)
class Lane:
    """Where one lane's link writes down its calls, in one direction. Places are those of this lane.

    `shape`: of x; `goal`: where the result has to be, if that is fixed. `gradients`: in a backward pass, where those of `tensors` go (NOWHERE:
    not wanted); there are zeros.
    """

    calls: Calls
    number: int
    shape: Shape
    tensors: Sequence[ArgRef]
    held: Sequence[ArgRef]
    gradients: Sequence[ArgRef] = ()
    goal: ArgRef = NOWHERE

    def call(self, function: Function, *arguments: Argument) -> None:
        self.calls.call(function, *arguments)

    def result(self, shape: Shape, beside: ArgRef) -> ArgRef:
        """Room for the result, which is made from what is at `beside`."""
        return self.goal or self.calls.value(prod(shape), beside)

    def into(self, shape: Shape, beside: ArgRef, *, wanted: bool) -> ArgRef:
        """The same for a gradient that may not be wanted."""
        return self.result(shape, beside) if wanted else NOWHERE


@dataclass
class Matrix:
    """Tensors that are columns of one matrix `[K, P]`: their gradients are columns of one as well. `members`: which tensors; `taken`: their columns."""

    rows: int
    width: int
    members: list[int] = field(default_factory=list)
    taken: list[range] = field(default_factory=list)


class ExecutionPlan:
    """See `Chain.plan`."""

    def __init__(
        self,
        links: Sequence[CompiledOp],
        x: Tensor,
        tensors: Sequence[Tensor],
        held: Sequence[Tensor],
        need: Sequence[bool],
    ) -> None:
        for tensor in tensors:
            if tensor.dtype != torch.float32:
                raise TypeError(f"compiled layers have float32 weights, not {tensor.dtype}")
        self.links, self.lanes, self.need = links, len(x), tuple(need)
        self.copied = [i for i, tensor in enumerate((*tensors, *held)) if not tensor[0].is_contiguous()]
        others = self._dense((*tensors, *held))
        self._steps = [tensor.stride(0) * tensor.element_size() for tensor in others]
        self._tensors = len(tensors)
        self.matrices, self._alone = self._parted(others[: len(tensors)])
        self._apart = [
            tensor[0].numel() * FLOAT if i in self._alone else self._steps[i]
            for i, tensor in enumerate(tensors)
        ]
        """Bytes from a lane's gradient to the next one's."""
        shape = x.shape if x.ndim != 5 else (*x.shape[:2], x.shape[-1], *x.shape[2:4])
        self.shapes: list[Shape] = [tuple(shape[1:])]
        self._firsts = [sum(link.tensors for link in links[:i]) for i in range(len(links) + 1)]
        for link in links:
            found = link.fits(self.shapes[-1], innermost=True)
            assert found is not None, "the chain was put together for other tensors"
            self.shapes.append(found)
        self._x = x.stride(0) * FLOAT
        self._backs: list[list[Back]] = []
        self._forward = self._write_forward().done()
        self._backward = self._write_backward().done() if any(need) else None

    def forward(self, x: Tensor, tensors: Sequence[Tensor], held: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """`x` as it lies -> (y as it lies, what the way back needs)."""
        y = x.new_empty(self.lanes, *memory_of(self.shapes[-1]))
        workspace = torch.empty(self._forward.workspace, dtype=torch.uint8)
        others = self._dense((*tensors, *held))
        self._forward.run(
            workspace.data_ptr(), x.data_ptr(), y.data_ptr(), 0, [tensor.data_ptr() for tensor in others]
        )
        return y, workspace

    def backward(
        self,
        x: Tensor,
        workspace: Tensor,
        gradient: Tensor,
        tensors: Sequence[Tensor],
        held: Sequence[Tensor],
    ) -> list[Tensor | None]:
        """The gradients of x (as it lies) and of the tensors."""
        assert self._backward is not None
        others = self._dense((*tensors, *held))
        to_x = x.new_empty(self.lanes, *memory_of(self.shapes[0])) if self.need[0] else None
        to: list[Tensor | None] = [None] * len(tensors)
        for matrix in self.matrices:
            whole = x.new_zeros(matrix.rows * matrix.width)
            for i in matrix.members:
                to[i] = whole.as_strided(tensors[i].shape, tensors[i].stride(), tensors[i].storage_offset())
        for i in self._alone:
            to[i] = x.new_zeros(tensors[i].shape)
        addresses = [0 if tensor is None else tensor.data_ptr() for tensor in (*others, *to)]
        self._backward.run(
            workspace.data_ptr(),
            x.data_ptr(),
            gradient.data_ptr(),
            0 if to_x is None else to_x.data_ptr(),
            addresses,
        )
        return [to_x, *to]

    def _dense(self, others: Sequence[Tensor]) -> Sequence[Tensor]:
        """With every lane contiguous."""
        if not self.copied:
            return others
        return [tensor.contiguous() if i in self.copied else tensor for i, tensor in enumerate(others)]

    def _parted(self, tensors: Sequence[Tensor]) -> tuple[list[Matrix], list[int]]:
        """The tensors whose gradients are wanted: those that are columns of matrices, each column once, and the others."""
        found: dict[int, Matrix] = {}
        alone: list[int] = []
        for i, (tensor, needed) in enumerate(zip(tensors, self.need[1:], strict=False)):
            if not needed:
                continue
            width, storage = tensor.stride(0), tensor.untyped_storage()
            own = range(int(tensor.storage_offset()), int(tensor.storage_offset()) + tensor[0].numel())
            matrix = found.setdefault(storage.data_ptr(), Matrix(self.lanes, width))
            columns = storage.nbytes() == self.lanes * width * FLOAT and width == matrix.width
            if (
                i in self.copied
                or not columns
                or any(own.start < other.stop and other.start < own.stop for other in matrix.taken)
            ):
                alone.append(i)
                continue
            matrix.members.append(i)
            matrix.taken.append(own)
        return [matrix for matrix in found.values() if matrix.members], alone

    def _write_forward(self) -> Calls:
        calls, y = Calls(keeping=any(self.need)), prod(self.shapes[-1]) * FLOAT
        for lane in range(self.lanes):
            calls.begin_lane()
            at, goal, backs = ArgRef(Region.X, lane * self._x), ArgRef(Region.Y, lane * y), []
            for i, link in enumerate(self.links):
                own = self._lane(calls, lane, i, goal if i + 1 == len(self.links) else NOWHERE)
                at, back = link.write(own, at)
                backs.append(back)
            self._copied(calls, at, goal, self.shapes[-1])
            self._backs.append(backs)
        return calls

    def _write_backward(self) -> Calls:
        calls, needed = Calls(), list(self.need)
        x, y = (prod(shape) * FLOAT for shape in (self.shapes[0], self.shapes[-1]))
        firsts = [1 + first for first in self._firsts]
        for lane, backs in enumerate(self._backs):
            at, goal = ArgRef(Region.Y, lane * y), ArgRef(Region.TO_X, lane * x) if self.need[0] else NOWHERE
            for i in reversed(range(len(self.links))):
                wanted = any(needed[: firsts[i]])
                if not wanted and not any(needed[firsts[i] : firsts[i + 1]]):
                    break
                at = backs[i](self._lane(calls, lane, i, goal if i == 0 else NOWHERE), at, wanted)
            if goal:
                self._copied(calls, at, goal, self.shapes[0])
        return calls

    def _lane(self, calls: Calls, lane: int, number: int, goal: ArgRef) -> Lane:
        first = self._firsts[number]
        behind = self._tensors + sum(link.held for link in self.links[:number])
        link = self.links[number]
        own = range(first, first + link.tensors)

        def at(i: int) -> ArgRef:
            return ArgRef(Region.OTHERS + i, lane * self._steps[i])

        to = [
            ArgRef(Region.OTHERS + len(self._steps) + i, lane * self._apart[i])
            if self.need[1 + i]
            else NOWHERE
            for i in (own if self.need else ())
        ]
        return Lane(
            calls, lane, self.shapes[number], [at(i) for i in own],
            [at(i) for i in range(behind, behind + link.held)], to, goal,
        )  # fmt: skip

    def _copied(self, calls: Calls, at: ArgRef, goal: ArgRef, shape: Shape) -> None:
        if at != goal:
            calls.call(rectified(backward=False), at, calls.fixed(ONE), goal, 1, prod(shape))
