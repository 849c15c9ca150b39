"""Calls of compiled functions for several lanes, written down once and made as often as tensors come.

What a function is handed is a place: so many bytes behind the beginning of a region. Where regions begin is told at every
call, so that nothing else is worked out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from ablate.kernels.compiled.call_table import caller
from ablate.kernels.compiled.jit import Function

FLOAT = 4
LINE = 64
"""Bytes: rooms begin at a multiple of them."""


class Region(IntEnum):
    FIXED = 0
    """Addresses and whole numbers as they are."""
    ROOM = 1
    """What is kept until the backward pass."""
    SCRATCH = 2
    """What a function needs while it runs."""
    LEFT = 3
    RIGHT = 4
    """Values between two calls that nobody needs later."""
    ROW = 5
    """The arguments themselves."""
    X = 6
    Y = 7
    """In a backward pass, its gradient."""
    TO_X = 8
    OTHERS = 9
    """The first of the other tensors."""


class ArgRef(NamedTuple):
    region: int
    offset: int = 0

    def __bool__(self) -> bool:
        return self != NOWHERE


NOWHERE = ArgRef(Region.FIXED)
Argument = ArgRef | int


@dataclass
class Calls:
    """Calls of all lanes, one lane after another. `keeping`: values between two calls are kept for a backward pass."""

    keeping: bool = False
    workspace: int = 0
    """Bytes that have to be there, in the region ROOM."""
    _taken: int = 0
    _sizes: dict[Region, int] = field(
        default_factory=lambda: dict.fromkeys((Region.SCRATCH, Region.LEFT, Region.RIGHT), 0)
    )
    _entries: list[int] = field(default_factory=list)
    _begins: list[int] = field(default_factory=list)
    _row: list[ArgRef] = field(default_factory=list)
    _alive: list[Tensor] = field(default_factory=list)

    def begin_lane(self) -> None:
        if not self.keeping:
            self._taken = 0

    def call(self, function: Function, *arguments: Argument) -> None:
        self._begins.append(len(self._row))
        self._entries.append(function.entry)
        self._row += [_place(argument) for argument in arguments]

    def row(self, *arguments: Argument) -> ArgRef:
        """A row of whole numbers and addresses, itself at a place."""
        at = len(self._row)
        self._row += [_place(argument) for argument in arguments]
        return ArgRef(Region.ROW, 8 * at)

    def kept(self, numbers: int) -> ArgRef:
        """Room for so many float32, of this lane only."""
        place = ArgRef(Region.ROOM, self._taken)
        self._taken += _rounded(numbers)
        self.workspace = max(self.workspace, self._taken)
        return place

    def scratch(self, numbers: int) -> ArgRef:
        return self._at_least(Region.SCRATCH, numbers)

    def scratch_parts(self, *numbers: int) -> list[ArgRef]:
        """The same for several things beside each other."""
        ends = list(accumulate(map(_rounded, numbers), initial=0))
        self._at_least(Region.SCRATCH, ends[-1] // FLOAT)
        return [ArgRef(Region.SCRATCH, end) for end in ends[:-1]]

    def value(self, numbers: int, beside: ArgRef) -> ArgRef:
        """Room for what the next call needs, elsewhere than `beside`."""
        if self.keeping:
            return self.kept(numbers)
        return self._at_least(Region.RIGHT if beside.region == Region.LEFT else Region.LEFT, numbers)

    def fixed(self, tensor: Tensor) -> ArgRef:
        """A tensor that stays."""
        self._alive.append(tensor)
        return ArgRef(Region.FIXED, tensor.data_ptr())

    def zeros(self, numbers: int) -> ArgRef:
        return self.fixed(_zeros(numbers))

    def _at_least(self, region: Region, numbers: int) -> ArgRef:
        self._sizes[region] = max(self._sizes[region], _rounded(numbers))
        return ArgRef(region)

    def done(self) -> Written:
        return Written(self, self._sizes, self._entries, self._begins, self._row)


class Written:
    """Calls that can be made."""

    def __init__(
        self, calls: Calls, sizes: dict[Region, int], entries: list[int], begins: list[int], row: list[ArgRef]
    ) -> None:
        self.calls = calls  # what its places point to lives as long
        self.workspace = calls.workspace
        self._between = {region: torch.empty(size, dtype=torch.uint8) for region, size in sizes.items()}
        self._entries, self._begins = torch.tensor(entries), torch.tensor(begins)
        self._regions = torch.tensor([place.region for place in row])
        self._offsets = torch.tensor([place.offset for place in row])
        self._row = torch.empty_like(self._offsets)
        between = (self._between[region].data_ptr() for region in (Region.SCRATCH, Region.LEFT, Region.RIGHT))
        self._own = (*between, self._row.data_ptr())
        self._count = len(entries)
        self._addresses = tuple(tensor.data_ptr() for tensor in (self._entries, self._begins, self._row))

    def run(self, workspace: int, x: int, y: int, to_x: int, others: Sequence[int]) -> None:
        """With these addresses of regions."""
        if self._count:
            begins = torch.tensor((0, workspace, *self._own, x, y, to_x, *others))
            torch.index_select(begins, 0, self._regions, out=self._row).add_(self._offsets)
            caller()(*self._addresses, self._count)


@lru_cache(maxsize=64)
def _zeros(numbers: int) -> Tensor:
    return torch.zeros(numbers)


def _place(argument: Argument) -> ArgRef:
    return argument if isinstance(argument, ArgRef) else ArgRef(Region.FIXED, argument)


def _rounded(numbers: int) -> int:
    return -(-numbers * FLOAT // LINE) * LINE
