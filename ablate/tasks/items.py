"""The items of a Dataset or a stream as tensors: all of them in memory, or only a summary from one pass.

Transforms that draw at random, or that change with the epoch, are part of training: such items are read again each
epoch, and so are items that take more memory than a task may hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ablate.records.errors import InputError
from ablate.tasks import memory_limit
from ablate.tasks.item_reader import Reader, Values, epoch_aware, item_of
from ablate.tasks.packing import Path, leaves_of, nested
from ablate.tasks.user_code import draws

TRIED = 32
"""Number of items that are read again to check whether they are the same."""
HEAD = 8
"""Items kept of a source that is not in memory: models are tried on them."""
CHECKED = 64
"""Number of items after which their memory use is checked again."""


@dataclass(frozen=True, eq=False)
class Items:
    """A Dataset whose items are read more than once, and how they become tensors.

    prepare: (x, y) as read -> the tensors of a Split. varies: items differ from read to read. exact: a read repeats under the
    same seed, because the Dataset draws from the global generators of torch, NumPy and Python only.
    """

    reader: Reader
    prepare: Callable[[Any, np.ndarray], tuple[Tensor, Tensor]]
    varies: bool
    exact: bool

    def at(self, rows: Sequence[int], epoch: int) -> tuple[Tensor, Tensor]:
        """(x, y) of the items `rows` as of epoch `epoch` (the first is 0). Of a stream: ascending."""
        return next(self.blocks(rows, epoch, [len(rows)]))

    def blocks(
        self, rows: Sequence[int], epoch: int, sizes: Sequence[int]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The same in blocks of that many items, one block in memory at a time. Of a stream: one pass."""
        items = self.reader.items(rows, epoch)
        for size in sizes:
            columns = Columns(self.reader.where, size)
            for _ in range(size):
                columns.add(*next(items))
            yield self.prepare(*columns.parts())


@dataclass(frozen=True, eq=False)
class Survey:
    """Summary, from one pass, of N items that are not in memory.

    head: x of the first items. keys: uint64 `[N]`, equal for items of equal x. broken: bool `[N]`, which hold NaN or
    infinity.
    """

    head: Any
    keys: np.ndarray
    broken: np.ndarray


Read = tuple[Any, Any]
"""Inputs (a tensor `[N, ...]`, a dict or tuple of them, or a Survey) and targets (arrays, or a dict or tuple of them)."""


def read(reader: Reader) -> Read:
    """All items as in epoch 0: x `[N, ...]` and y `[N, ...]`; x is a Survey if it takes too much memory.

    y may be a dict or a tuple as x. Raises InputError for items that are not a pair (x, y) or of different shapes, for targets
    that take too much memory, and for a stream that does not fit and does not know its length.
    """
    count = reader.count()
    columns = Columns(reader.where, count)
    builder: _SurveyBuilder | None = None
    number = 0
    for number, (row, values) in enumerate(reader.items(), start=1):
        if builder is None or number <= HEAD:
            columns.add(row, values)
        else:
            columns.check(row, values)
            columns.add_targets(values)
        if builder is None and (number == 1 or number % CHECKED == 0) and not columns.fits(count or number):
            if count is None:
                most = f"{memory_limit.memory_bytes() / memory_limit.GIB:.3g} GiB"
                raise InputError(
                    f"{reader.where} takes more than {most} of memory and has no length",
                    hint="give the IterableDataset a __len__, so that it can be streamed",
                )
            builder = _SurveyBuilder()
            columns.hold(HEAD)
        if builder is not None:
            builder.add({path: value for path, value in values.items() if path[0] == "x"})
    if not number:
        raise InputError(f"{reader.where} is empty", hint="a split needs at least one example")
    x, y = columns.parts()
    return (x if builder is None else builder.build(x)), y


def stacked(reader: Reader, rows: Sequence[int], epoch: int = 0) -> tuple[Any, Any]:
    """(x, y) of the items `rows` `[N, ...]`, held, drawn under the epoch's seed. Raises InputError as `read`."""
    columns = Columns(reader.where, len(rows))
    for row, values in reader.items(rows, epoch):
        columns.add(row, values)
    return columns.parts()


@dataclass
class _SurveyBuilder:
    """Collects a Survey, item by item."""

    keys: list[int] = field(default_factory=list)
    broken: list[bool] = field(default_factory=list)

    def add(self, x: Mapping[Path, Tensor | np.ndarray]) -> None:
        self.keys.append(row_key(b"".join(map(_content, x.values()))))
        self.broken.append(not all(map(_finite, x.values())))

    def build(self, head: Any) -> Survey:
        return Survey(head, np.array(self.keys, dtype=np.uint64), np.array(self.broken))


def _finite(value: Tensor | np.ndarray) -> bool:
    return not (isinstance(value, Tensor) and value.is_floating_point()) or bool(value.isfinite().all())


def _content(value: Tensor | np.ndarray) -> bytes:
    return value.to(torch.float32).numpy().tobytes() if isinstance(value, Tensor) else str(value).encode()


def row_key(content: bytes) -> int:
    """A 64-bit hash of an example's content."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


class Columns:
    """Builds the tensors of items. Where the count of items is known they are allocated once and filled in place."""

    def __init__(self, where: str, count: int | None) -> None:
        self.where, self.count = where, count
        self.columns: dict[Path, _Column] = {}
        self.first = ""

    def add(self, row: int, values: Values) -> None:
        """Raises InputError if the item's tensors differ from those of the first in name or shape."""
        if not self.columns:
            self.first = f"item {row}"
            self.columns = {path: _Column(value, self.count) for path, value in values.items()}
        self.check(row, values)
        for path, column in self.columns.items():
            column.put(values[path])

    def add_targets(self, values: Values) -> None:
        """Add the targets of an item."""
        for path, column in self.columns.items():
            if path[0] == "y":
                column.put(values[path])

    def check(self, row: int, values: Values) -> None:
        """Raise InputError where an item's entries, shapes or types are not those of the first item."""
        this, that = f"{self.where}: item {row}", self.first
        if values.keys() != self.columns.keys():
            name = _name(min(values.keys() ^ self.columns.keys(), key=str))
            raise InputError(
                f"only one of {this} and {that} has {name}", hint="give all items the same entries"
            )
        for path, value in values.items():
            if tuple(value.shape) != (shape := self.columns[path].shape):
                name = "" if path == ("x",) else _name(path)
                raise InputError(
                    f"{this} has shape {list(value.shape)}, {that} has {list(shape)}{f', in {name}' if name else ''}",
                    hint=_one_shape(value),
                )

    def fits(self, count: int) -> bool:
        """Whether the inputs of `count` items like those so far may be held. Raises InputError where their targets may not."""
        needed = {
            letter: sum(column.size for path, column in self.columns.items() if path[0] == letter) * count
            for letter in "xy"
        }
        memory_limit.check_bytes(needed["y"], f"the targets of {self.where}: {count} examples of {needed['y'] // count} bytes")  # fmt: skip
        return needed["x"] <= memory_limit.memory_bytes()

    def hold(self, count: int) -> None:
        """Keep the inputs of `count` items instead of all; called after the first item."""
        for path, column in self.columns.items():
            if path[0] == "x":
                column.count = min(count, column.count or count)

    def parts(self) -> tuple[Any, Any]:
        """(x, y) `[N, *shape]`, nested as in the items."""
        whole = [(path, column.whole()) for path, column in self.columns.items()]
        xs, ys = ([(path[1:], value) for path, value in whole if path[0] == letter] for letter in "xy")
        return nested(xs), nested([(path, np.asarray(value)) for path, value in ys])


class _Column:
    """One tensor (or array of text) of the items. `size`: bytes of an item, as float32 where it is narrower."""

    def __init__(self, first: Tensor | np.ndarray, count: int | None) -> None:
        self.shape = tuple(first.shape)
        self.size = max(first.nbytes, 4 * first.numel() if isinstance(first, Tensor) else 0)
        self.count, self.number = count, 0
        self.values: Tensor | None = None
        self.rows: list[Tensor | np.ndarray] = []

    def put(self, value: Tensor | np.ndarray) -> None:
        if self.count and self.number == 1 and isinstance(first := self.rows[0], Tensor):
            self.values = torch.empty(self.count, *self.shape, dtype=first.dtype)
            self.values[0] = first
            self.rows = []
        if self.values is None or not isinstance(value, Tensor):
            self.rows.append(value.clone() if isinstance(value, Tensor) else value)
        else:
            if (dtype := torch.promote_types(value.dtype, self.values.dtype)) != self.values.dtype:
                self.values = self.values.to(dtype)
            self.values[self.number] = value
        self.number += 1

    def whole(self) -> Any:
        """The items as `[N, *shape]`."""
        if self.values is not None:
            return self.values[: self.number]
        return torch.stack(self.rows) if isinstance(self.rows[0], Tensor) else np.stack(self.rows)  # type: ignore[arg-type]


def _name(path: Path) -> str:
    """`x['mask']`."""
    return f"{path[0]}" + "".join(f"[{key!r}]" for key in path[1:])


def _one_shape(value: Tensor | np.ndarray) -> str:
    """What to do about examples of different shapes."""
    if isinstance(value, Tensor) and value.ndim == 1 and not value.is_floating_point():
        return 'pad token ids in the tokenizer, padding="max_length", or give items their attention_mask'
    return "bring all examples to one shape (resize, pad) in the Dataset"


def variation(reader: Reader, first: Read) -> tuple[bool, bool]:
    """(whether items differ from read to read, whether a read repeats under the same seed). `first`: the read of epoch 0.

    Items differ if reading some of them again returns others, draws from a global generator, or if the Dataset or one that it
    wraps has a `set_epoch`, as samplers and datasets do whose order or transforms change with the epoch. (Every stream of Hugging Face's has
    one; it seeds shuffles alone, and the first items show these.)
    """
    rows = spread(len(next(value for _, value in leaves_of(first[1]))), reader)
    by_epoch = any(not _only_shuffles(one) for one in epoch_aware(reader.dataset))
    draws = by_epoch or _draws(reader, rows)
    again, once_more, other = (stacked(reader, rows, epoch) for epoch in (0, 0, 1))
    exact = _equal(again, once_more)
    in_memory = [part for part in first if not isinstance(part, Survey)]
    stored = [nested([(path, value[rows]) for path, value in leaves_of(part)]) for part in in_memory]
    differ = not _equal(again, other) or not _equal(stored, again[-len(stored) :])
    return draws or not exact or differ, exact


def _only_shuffles(dataset: object) -> bool:
    return type(dataset).__module__.partition(".")[0] == "datasets"


def spread(size: int, reader: Reader) -> list[int]:
    """Some rows out of `size`, spread over a Dataset, at the beginning of a stream."""
    reach = min(TRIED, size) if reader.streams else size
    return sorted({round(i * (reach - 1) / max(1, TRIED - 1)) for i in range(min(TRIED, size))})


def _draws(reader: Reader, rows: Sequence[int]) -> bool:
    """Whether reading the rows draws from a global generator of this process."""

    def read() -> None:
        if reader.streams:
            for _ in islice(cast("Iterable[Any]", reader.dataset), len(rows)):
                pass
        else:
            for row in rows:
                item_of(reader.dataset, row)

    return draws(read)


def _equal(one: Sequence[Any], other: Sequence[Any]) -> bool:
    for mine, its in zip(one, other, strict=True):
        for (_, a), (_, b) in zip(leaves_of(mine), leaves_of(its), strict=True):
            a, b = np.asarray(a), np.asarray(b)
            nan = a.dtype.kind in "fc" and b.dtype.kind in "fc"
            if a.shape != b.shape or not np.array_equal(a, b, equal_nan=nan):
                return False
    return True
