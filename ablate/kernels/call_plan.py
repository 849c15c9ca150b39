"""Calls of compiled functions for several lanes: planned once, executed at every step with the addresses of that step's tensors.

An argument is an `ArgRef` (a byte offset into a memory region) or an integer. Only the regions' addresses change between steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:  # importing it requires llvmlite
    from ablate.kernels.compiled.jit import Function

FLOAT_BYTES = 4
ALIGNMENT = 64
"""Alignment of temporaries in bytes: a multiple of a cache line."""


class Region(IntEnum):
    """The memory regions of arguments."""

    ABSOLUTE = 0
    """Absolute addresses and integers."""
    WORKSPACE = 1
    """Values saved for the backward pass."""
    SCRATCH = 2
    """Workspace of a function while it runs."""
    PING = 3
    PONG = 4
    """Intermediate values that no later call needs."""
    ARGUMENTS = 5
    """The argument table itself."""
    X = 6
    Y = 7
    """In a backward pass, its gradient."""
    GRAD_X = 8
    TENSORS = 9
    """The first of the other tensors; each is a region."""


class ArgRef(NamedTuple):
    """A byte offset into a region. Falsy if it is NULL."""

    region: int
    offset: int = 0

    def __bool__(self) -> bool:
        return self != NULL


NULL = ArgRef(Region.ABSOLUTE)
Argument = ArgRef | int


@dataclass
class CallPlanBuilder:
    """Lists the calls of all lanes, one lane after another. `saving`: values between calls are saved for a backward pass."""

    saving: bool = False
    workspace_bytes: int = 0
    _used: int = 0
    _sizes: dict[Region, int] = field(
        default_factory=lambda: dict.fromkeys((Region.SCRATCH, Region.PING, Region.PONG), 0)
    )
    _entries: list[int] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _arguments: list[ArgRef] = field(default_factory=list)
    _constants: list[Tensor] = field(default_factory=list)

    def begin_lane(self) -> None:
        """Start the calls of the next lane; without saving, its temporaries reuse the memory of the previous lane."""
        if not self.saving:
            self._used = 0

    def call(self, function: Function, *arguments: Argument) -> None:
        """Append a call of `function` with `arguments`."""
        self._starts.append(len(self._arguments))
        self._entries.append(function.entry)
        self._arguments += [_reference(argument) for argument in arguments]

    def table(self, *arguments: Argument) -> ArgRef:
        """An int64 row of numbers and addresses, itself passed by reference."""
        start = len(self._arguments)
        self._arguments += [_reference(argument) for argument in arguments]
        return ArgRef(Region.ARGUMENTS, 8 * start)

    def saved(self, numbers: int) -> ArgRef:
        """Workspace for `numbers` float32 of this lane only."""
        reference = ArgRef(Region.WORKSPACE, self._used)
        self._used += _aligned_bytes(numbers)
        self.workspace_bytes = max(self.workspace_bytes, self._used)
        return reference

    def scratch(self, numbers: int) -> ArgRef:
        """Scratch memory for `numbers` float32."""
        return self._reserve(Region.SCRATCH, numbers)

    def scratch_parts(self, *numbers: int) -> list[ArgRef]:
        """Adjacent scratch arrays."""
        ends = list(accumulate(map(_aligned_bytes, numbers), initial=0))
        self._reserve(Region.SCRATCH, ends[-1] // FLOAT_BYTES)
        return [ArgRef(Region.SCRATCH, end) for end in ends[:-1]]

    def temporary(self, numbers: int, source: ArgRef) -> ArgRef:
        """Memory for the input of the next call, which does not overlap `source`."""
        if self.saving:
            return self.saved(numbers)
        return self._reserve(Region.PONG if source.region == Region.PING else Region.PING, numbers)

    def constant(self, tensor: Tensor) -> ArgRef:
        """A constant tensor, kept alive by the plan."""
        self._constants.append(tensor)
        return ArgRef(Region.ABSOLUTE, tensor.data_ptr())

    def zeros(self, numbers: int) -> ArgRef:
        """A constant array of `numbers` zeros."""
        return self.constant(_zeros(numbers))

    def _reserve(self, region: Region, numbers: int) -> ArgRef:
        self._sizes[region] = max(self._sizes[region], _aligned_bytes(numbers))
        return ArgRef(region)

    def build(self) -> CallPlan:
        """The finished plan."""
        return CallPlan(self, self._sizes, self._entries, self._starts, self._arguments)


class CallPlan:
    """A list of calls with its temporaries. `workspace_bytes`: what `run` needs as workspace."""

    def __init__(
        self,
        builder: CallPlanBuilder,
        sizes: dict[Region, int],
        entries: list[int],
        starts: list[int],
        arguments: list[ArgRef],
    ) -> None:
        self.builder = builder  # keeps the constants alive
        self.workspace_bytes = builder.workspace_bytes
        self._temporaries = {region: torch.empty(size, dtype=torch.uint8) for region, size in sizes.items()}
        self._entries, self._starts = torch.tensor(entries), torch.tensor(starts)
        self._regions = torch.tensor([reference.region for reference in arguments])
        self._offsets = torch.tensor([reference.offset for reference in arguments])
        self._arguments = torch.empty_like(self._offsets)
        temporaries = (self._temporaries[r].data_ptr() for r in (Region.SCRATCH, Region.PING, Region.PONG))
        self._own_regions = (*temporaries, self._arguments.data_ptr())
        self._count = len(entries)
        self._tables = tuple(tensor.data_ptr() for tensor in (self._entries, self._starts, self._arguments))
        if self._count:
            from ablate.kernels.compiled.call_table import caller

            self._call_all = caller()

    def run(self, workspace: int, x: int, y: int, grad_x: int, tensors: Sequence[int]) -> None:
        """Execute all calls, with the regions at these addresses."""
        if self._count:
            bases = torch.tensor((0, workspace, *self._own_regions, x, y, grad_x, *tensors))
            torch.index_select(bases, 0, self._regions, out=self._arguments).add_(self._offsets)
            self._call_all(*self._tables, self._count)


@lru_cache(maxsize=64)
def _zeros(numbers: int) -> Tensor:
    return torch.zeros(numbers)


def _reference(argument: Argument) -> ArgRef:
    return argument if isinstance(argument, ArgRef) else ArgRef(Region.ABSOLUTE, argument)


def _aligned_bytes(numbers: int) -> int:
    return -(-numbers * FLOAT_BYTES // ALIGNMENT) * ALIGNMENT
