"""The items of a Dataset or a stream, which may differ at each read.

Transforms that draw at random, or that change with the epoch, are part of training: such items are read again each
epoch. The global generators are seeded by the epoch before a read, so that the items depend only on the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from ablate.records.errors import InputError
from ablate.tasks.memory_limit import check_bytes
from ablate.tasks.packing import leaves_of, nested
from ablate.tasks.user_code import generators, repeatable

TRIED = 32
"""Number of items that are read again to check whether they are the same."""
Path = tuple[str | int, ...]
LABELS = ("labels", "label")
"""Keys of the target in an item that is a mapping, as in Hugging Face's data sets."""
Read = tuple[Any, Any]
"""Inputs (a tensor `[N, ...]`, or a dict or tuple of them) and targets (the same as arrays)."""
Source = Dataset[Any]
"""A map-style Dataset, or an IterableDataset: a stream."""
CHECKED = 64
"""Number of items after which their memory use is checked again."""


@dataclass(frozen=True, eq=False)
class Items:
    """A Dataset whose items differ from read to read, and how they become tensors.

    prepare: (x, y) as read -> the tensors of a Split. exact: a read repeats under the same seed, because the
    Dataset draws from the global generators of torch, NumPy and Python only.
    """

    dataset: Dataset[Any]
    where: str
    prepare: Callable[[Any, np.ndarray], tuple[Tensor, Tensor]]
    exact: bool

    def at(self, rows: Sequence[int], epoch: int) -> tuple[Tensor, Tensor]:
        """(x, y) of the items `rows` as of epoch `epoch` (the first is 0)."""
        return self.prepare(*read(self.dataset, self.where, rows, epoch))


def read(dataset: Source, where: str, rows: Sequence[int] | None = None, epoch: int = 0) -> Read:
    """The items `rows` (ascending; all by default), stacked: x `[N, ...]` and y `[N, ...]`, drawn under the epoch's seed.

    y may be a dict or a tuple as x. Raises InputError for items that are not a pair (x, y) or of different shapes, and before
    they fill the memory. `where`: the split's name, for messages.
    """
    columns: dict[Path, Column] = {}
    first = ""
    count = _count(dataset, rows)
    with repeatable(epoch):
        if callable(set_epoch := getattr(dataset, "set_epoch", None)):
            set_epoch(epoch)
        number = 0
        for number, (row, item) in enumerate(items_at(dataset, where, rows), start=1):
            x, y = _parted(item, where, row)
            leaves = {("x", *path): _as_value(value) for path, value in leaves_of(x)}
            leaves |= {("y", *path): _as_value(value) for path, value in leaves_of(y)}
            first = first or f"item {row}"
            columns = columns or {path: Column(value, count) for path, value in leaves.items()}
            _check_like(leaves, columns, f"{where}: item {row}", first)
            nbytes = sum(column.put(leaves[path]) for path, column in columns.items())
            if number == 1 or number % CHECKED == 0:
                each = nbytes // number
                check_bytes(
                    each * max(count or 0, number),
                    f"{where}: {count or f'at least {number}'} examples of {each} bytes",
                )
    if not columns:
        raise InputError(f"{where} is empty", hint="a split needs at least one example")
    whole = [(path, column.whole()) for path, column in columns.items()]
    xs, ys = ([(path[1:], value) for path, value in whole if path[0] == letter] for letter in "xy")
    return nested(xs), nested([(path, np.asarray(value)) for path, value in ys])


def items_at(dataset: Source, where: str, rows: Sequence[int] | None) -> Iterator[tuple[int, Any]]:
    """(row, item) of the rows, ascending, of a map-style Dataset or in one pass over an IterableDataset."""
    if not isinstance(dataset, IterableDataset):
        for row in range(len(dataset)) if rows is None else rows:  # type: ignore[arg-type]
            yield row, dataset[row]
        return
    last, wanted = (None, None) if rows is None else (max(rows), set(rows))
    count = 0
    for count, item in enumerate(dataset, start=1):
        if wanted is None or count - 1 in wanted:
            yield count - 1, item
        if last is not None and count > last:
            return
    length = _count(dataset, None)
    expected = last + 1 if last is not None else length
    if expected is not None and count < expected:
        raise InputError(
            f"{where} ends after {count} of {expected} examples",
            hint="let every pass give as many, and let len() say how many"
            if length
            else "let every pass give as many",
        )


def _count(dataset: Source, rows: Sequence[int] | None) -> int | None:
    """The number of items to be read, if known."""
    if rows is not None:
        return len(rows)
    try:
        return len(dataset)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return None


class Column:
    """One tensor (or array of text) of the items; if their number is known it is filled in place, without a copy."""

    def __init__(self, first: Tensor | np.ndarray, count: int | None) -> None:
        self.shape = tuple(first.shape)
        self.size = 0
        self.values = (
            torch.empty(count, *first.shape, dtype=first.dtype)
            if isinstance(first, Tensor) and count
            else None
        )
        self.rows: list[Tensor | np.ndarray] = []

    def put(self, value: Tensor | np.ndarray) -> int:
        """Add an item; returns the bytes of all so far."""
        if self.values is None or not isinstance(value, Tensor):
            self.rows.append(value.clone() if isinstance(value, Tensor) else value)
        else:
            if (dtype := torch.promote_types(value.dtype, self.values.dtype)) != self.values.dtype:
                self.values = self.values.to(dtype)
            self.values[self.size] = value
        self.size += 1
        return value.nbytes * self.size

    def whole(self) -> Any:
        """The items as `[N, *shape]`."""
        if self.values is not None:
            return self.values[: self.size]
        return torch.stack(self.rows) if isinstance(self.rows[0], Tensor) else np.stack(self.rows)  # type: ignore[arg-type]


def _parted(item: Any, where: str, row: int) -> tuple[Any, Any]:
    """An item as (x, y)."""
    if isinstance(item, Mapping) and (key := next((name for name in LABELS if name in item), "")):
        return {name: value for name, value in item.items() if name != key}, item[key]
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    hint = 'return (x, y), or a dict with "labels"'
    raise InputError(f"{where}: item {row} of the Dataset is {_what(item)}", hint=hint)


def _as_value(value: Any) -> Tensor | np.ndarray:
    """A tensor on the CPU; of text an array."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    array = np.asarray(value)
    return torch.as_tensor(array) if array.dtype.kind in "fiubc" else array


def _check_like(
    x: Mapping[Path, Tensor | np.ndarray], first: Mapping[Path, Column], this: str, that: str
) -> None:
    """Raise InputError if an item's tensors differ from those of the first item in name or shape."""
    if x.keys() != first.keys():
        name = _name(min(x.keys() ^ first.keys(), key=str))
        raise InputError(f"only one of {this} and {that} has {name}", hint="give all items the same entries")
    for path, value in x.items():
        if tuple(value.shape) != (shape := first[path].shape):
            name = "" if path == ("x",) else _name(path)
            raise InputError(
                f"{this} has shape {list(value.shape)}, {that} has {list(shape)}{f', in {name}' if name else ''}",
                hint="bring all examples to one shape (resize, pad) in the Dataset",
            )


def _name(path: Path) -> str:
    """`x['mask']`."""
    return f"{path[0]}" + "".join(f"[{key!r}]" for key in path[1:])


def variation(dataset: Source, where: str, first: Read) -> tuple[bool, bool]:
    """(whether items differ from read to read, whether a read repeats under the same seed). `first`: the read of epoch 0.

    Items differ if reading some of them again returns others or draws from a global generator, or if the Dataset has a
    `set_epoch`, as samplers and datasets do whose order or transforms change with the epoch.
    """
    size = len(next(value for _, value in leaves_of(first[1])))
    spread = (
        size if not isinstance(dataset, IterableDataset) else min(TRIED, size)
    )  # a stream is always read from its start
    rows = sorted({round(i * (spread - 1) / max(1, TRIED - 1)) for i in range(min(TRIED, size))})
    draws = hasattr(dataset, "set_epoch")
    with repeatable():
        before = generators()
        for _ in items_at(dataset, where, rows):
            pass
        draws |= generators() != before
    again, once_more, other = (read(dataset, where, rows, epoch) for epoch in (0, 0, 1))
    exact = _equal(again, once_more)
    stored = [nested([(path, value[rows]) for path, value in leaves_of(part)]) for part in first]
    return draws or not exact or not _equal(stored, other) or not _equal(stored, again), exact


def _equal(one: Sequence[Any], other: Sequence[Any]) -> bool:
    for mine, its in zip(one, other, strict=True):
        for (_, a), (_, b) in zip(leaves_of(mine), leaves_of(its), strict=True):
            a, b = np.asarray(a), np.asarray(b)
            nan = a.dtype.kind in "fc" and b.dtype.kind in "fc"
            if a.shape != b.shape or not np.array_equal(a, b, equal_nan=nan):
                return False
    return True


def _what(value: Any) -> str:
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, tuple | list) else "")
