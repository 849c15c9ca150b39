"""Nested inputs (dicts and tuples of tensors) as the columns of one tensor.

So everything that handles examples (splits, batches, order, checkpoints) handles one tensor `[N, F]`. A column holds its
numbers exactly: int64 if all leaves are integers, float32 if all are floats, else float64. A single tensor under a name, such as
the images of a data set, keeps its shape, and is an image or a table as it would be without the name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from ablate.records.errors import InputError

Path = tuple[str | int, ...]
"""Where a leaf stands in nested inputs or outputs: keys and positions."""
Convert = Callable[[Any, str], Tensor]
EXACT = 2**53
"""Largest integer up to which float64 holds all integers."""


@dataclass(frozen=True)
class Leaf:
    """One tensor of nested inputs: `path` of keys (positions in a tuple), shape of an example, type."""

    path: Path
    shape: tuple[int, ...]
    dtype: torch.dtype

    def __str__(self) -> str:
        return "".join(f"[{key!r}]" for key in self.path)

    @property
    def title(self) -> str:
        """`tokens` of a dict, `[0]` of a tuple, `text['mask']` further in."""
        first = self.path[0] if self.path else ""
        inner = "".join(f"[{key!r}]" for key in self.path[1:])
        return f"{first}{inner}" if isinstance(first, str) else str(self)


@dataclass(frozen=True)
class Packing:
    """The layout of nested inputs in the columns of one tensor, leaf after leaf."""

    leaves: tuple[Leaf, ...]

    @property
    def width(self) -> int:
        """F, the columns of all leaves."""
        return sum(prod(leaf.shape) for leaf in self.leaves)

    @property
    def dtype(self) -> torch.dtype:
        """The type that holds all leaves exactly."""
        floats = [leaf.dtype.is_floating_point for leaf in self.leaves]
        return torch.float32 if all(floats) else torch.float64 if any(floats) else torch.int64

    def __str__(self) -> str:
        types = (str(leaf.dtype).removeprefix("torch.") for leaf in self.leaves)
        return ", ".join(
            f"{leaf.title} {dtype} {list(leaf.shape)}" for leaf, dtype in zip(self.leaves, types, strict=True)
        )

    def part(self, path: Path, x: Tensor) -> Tensor:
        """`[…, F]` -> the leaf at `path`, `[…, *shape]`."""
        start = 0
        for leaf in self.leaves:
            if leaf.path == path:
                return x[..., start : start + prod(leaf.shape)].reshape(*x.shape[:-1], *leaf.shape)
            start += prod(leaf.shape)
        raise KeyError(path)

    def unpack(self, x: Tensor) -> Any:
        """`[B, F]` -> the nested inputs, each leaf `[B, *shape]` of its own type."""
        if len(self.leaves) == 1:
            (leaf,) = self.leaves
            return nested([(leaf.path, x.reshape(-1, *leaf.shape).to(leaf.dtype))])
        start, leaves = 0, []
        for leaf in self.leaves:
            stop = start + prod(leaf.shape)
            leaves.append((leaf.path, x[:, start:stop].reshape(-1, *leaf.shape).to(leaf.dtype)))
            start = stop
        return nested(leaves)


def is_nested(x: Any) -> bool:
    """Whether inputs are a mapping or a tuple of several tensors or arrays. (A list is one array.)"""
    return isinstance(x, Mapping | tuple)


def leaves_of(x: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, value) of the leaves of nested inputs, i.e. all but mappings and tuples, in order."""
    if isinstance(x, Mapping):
        for key in x:
            yield from leaves_of(x[key], (*path, str(key)))
    elif isinstance(x, tuple):
        for position, value in enumerate(x):
            yield from leaves_of(value, (*path, position))
    else:
        yield path, x


def nested(leaves: list[tuple[Path, Any]]) -> Any:
    """The inverse of `leaves_of`: integer keys make a tuple."""
    if len(leaves) == 1 and not leaves[0][0]:
        return leaves[0][1]
    groups: dict[str | int, list[tuple[Path, Any]]] = {}
    for path, value in leaves:
        groups.setdefault(path[0], []).append((path[1:], value))
    values = {key: nested(group) for key, group in groups.items()}
    return tuple(values.values()) if all(isinstance(key, int) for key in values) else values


def pack(x: Any, where: str, convert: Convert, letter: str = "x") -> tuple[Tensor, Packing]:
    """Nested inputs (or targets, `letter` "y"), each leaf `[N, ...]`, as one tensor `[N, F]`; of a single leaf as it is. `convert`: a leaf and its
    name -> a tensor.

    Raises InputError if leaves differ in length, and for integers beside floats that float64 does not hold. Floats and pixels (uint8 `[N, C, H, W]`) become float32; integers and booleans keep their type.
    """
    values: list[Tensor] = []
    leaves: list[Leaf] = []
    for path, value in leaves_of(x):
        name = f"{where} {letter}" + "".join(f"[{key!r}]" for key in path)
        tensor = convert(value, name)
        if tensor.ndim == 0:
            raise InputError(f"{name} is one number", hint="give one entry for each example")
        real = tensor.is_floating_point() or _are_pixels(value, tensor.ndim)
        dtype = torch.float32 if real else torch.bool if tensor.dtype == torch.bool else torch.int64
        if values and len(tensor) != len(values[0]):
            raise InputError(f"{name} has {len(tensor)} rows and {where} {letter}{leaves[0]} has {len(values[0])}", hint="give one entry for each example")  # fmt: skip
        leaves.append(Leaf(path, tuple(tensor.shape[1:]), dtype))
        values.append(tensor.to(dtype))
    if not leaves:
        raise InputError(f"{where} {letter} is empty", hint="give at least one tensor")
    packing = Packing(tuple(leaves))
    if packing.dtype == torch.float64:
        for leaf, value in zip(leaves, values, strict=True):
            if leaf.dtype == torch.int64 and value.numel() and value.abs().max() > EXACT:
                raise InputError(f"{where} {letter}{leaf} has integers beyond 2^53 beside inputs that are floats", hint="number them from 0, or leave them out")  # fmt: skip
    if len(values) == 1 and values[0].ndim > 1:
        return values[0].to(packing.dtype).contiguous(), packing
    return torch.cat([value.reshape(len(value), -1).to(packing.dtype) for value in values], dim=1), packing


def _are_pixels(value: Any, dims: int) -> bool:
    """Whether `value` holds images of bytes."""
    return dims == 4 and str(getattr(value, "dtype", "")).removeprefix("torch.") == "uint8"
