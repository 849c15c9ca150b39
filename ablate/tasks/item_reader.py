"""Reading the items of a Dataset or a stream one after the other, in this process or by workers.

Every item of a Dataset is drawn under a seed of its own, a function of the epoch and its row: its value depends neither on
which items are read with it nor on which process reads it. A stream draws under the epoch's seed, from its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ablate.records.errors import InputError
from ablate.tasks.packing import Path, leaves_of
from ablate.tasks.user_code import SeparateDraws, UserCode, seed_generators

Values = dict[Path, Tensor | np.ndarray]
"""An item's tensors (arrays for text), by the path in (x, y): `("x",)`, `("y", "mask")`."""
Source = Dataset[Any]
"""A map-style Dataset, or an IterableDataset: a stream."""
LABELS = ("labels", "label")
"""Keys of the target in an item that is a mapping, as in Hugging Face's data sets."""
SENT = 8
"""Items that a worker sends at once."""
PARTS = 1000
"""Most entries of a list that may be Datasets; longer ones are the items."""
AHEAD = 32
"""Items that are read at once."""


@dataclass(frozen=True)
class Reader:
    """Where items come from. `where`: the split's name, for messages. `workers`: processes that read ahead (a stream is
    read by one at most, since its items have one order). `padding`: brings an item's token ids to one length (`padding.Padding`)."""

    dataset: Source
    where: str
    workers: int = 0
    padding: Callable[[Values], Values] | None = None

    @property
    def streams(self) -> bool:
        """Whether the items come as a stream, without a length or positions."""
        return isinstance(self.dataset, IterableDataset)

    def count(self) -> int | None:
        """The number of items of a pass, if it is known."""
        try:
            return len(self.dataset)  # type: ignore[arg-type]
        except (TypeError, NotImplementedError):
            return None

    def items(self, rows: Sequence[int] | None = None, epoch: int = 0) -> Iterator[tuple[int, Values]]:
        """(row, tensors) of the rows in their order; of a stream ascending. All by default, of a stream until it ends.

        The global generators are this pass's own while it reads, and the caller's between two items. Raises InputError for an
        item that is no pair (x, y), and where a stream ends early.
        """
        draws = SeparateDraws(epoch)
        pairs = self._streamed(rows, epoch) if self.streams else self._indexed(rows, epoch)
        size = 1  # the first item determines the size of all
        while True:
            with draws:
                block = list(islice(pairs, size))
            if not block:
                return
            yield from (
                block if self.padding is None else ((row, self.padding(values)) for row, values in block)
            )
            size = AHEAD

    def _indexed(self, rows: Sequence[int] | None, epoch: int) -> Iterator[tuple[int, Values]]:
        if (count := self.count()) is None:
            raise InputError(
                f"{self.where}: the Dataset has no length",
                hint="give it a __len__, or make it an IterableDataset",
            )
        order = range(count) if rows is None else rows
        if self.workers == 0:
            drawn = _Drawn(self.dataset, epoch)
            for row in order:
                yield row, tensors(drawn[row], self.where, row)
            return
        loader = _loader(_Sent(self.dataset, epoch), self.workers, sampler=order)
        for row, item in zip(order, (item for block in loader for item in block), strict=True):
            yield row, tensors(item, self.where, row)

    def _streamed(self, rows: Sequence[int] | None, epoch: int) -> Iterator[tuple[int, Values]]:
        _set_epoch(self.dataset, epoch)
        last, wanted = (None, None) if rows is None else (max(rows), set(rows))
        count = self.count()
        most = last + 1 if last is not None else count
        source: Any = _Stream(self.dataset)
        if self.workers:
            loader = _loader(_SentStream(self.dataset), 1, worker_init_fn=partial(_begin_worker, epoch))
            source = (item for block in loader for item in block)
        row = -1
        for row, item in enumerate(islice(source, most)):
            if wanted is None or row in wanted:
                yield row, tensors(item, self.where, row)
        if most is not None and row + 1 < most:
            count_hint = ", and let len() say how many" if count else ""
            raise InputError(
                f"{self.where} ends after {row + 1} of {most} examples",
                hint=f"let every pass give as many{count_hint}",
            )


class _Drawn(Dataset[Any]):
    """The items of `dataset` in one epoch, each drawn under its own seed."""

    def __init__(self, dataset: Source, epoch: int) -> None:
        self.dataset, self.epoch = dataset, epoch
        self.epoch_set = False

    def __getitem__(self, row: int) -> Any:
        if not self.epoch_set:  # in the process that reads: a worker has a copy of the Dataset
            _set_epoch(self.dataset, self.epoch)
            self.epoch_set = True
        seed_generators(item_seed(self.epoch, int(row)))
        return item_of(self.dataset, row)


@dataclass(frozen=True)
class _Unreadable:
    """What a worker sends in place of an item whose reading failed: its exception cannot always be sent, and torch's copy has the traceback as its text."""

    message: str
    hint: str


class _Sent(_Drawn):
    """Items that a worker reads and sends."""

    def __getitem__(self, row: int) -> Any:
        try:
            return super().__getitem__(row)
        except InputError as error:
            return _Unreadable(error.message, error.hint)


class _Stream(IterableDataset[Any]):
    """The items of a stream. Raises InputError with the item's number and the user's line where the stream raises an exception."""

    def __init__(self, dataset: Source) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[Any]:
        items, row = None, 0
        while True:
            with UserCode(f"reading item {row} of the stream"):
                items = iter(self.dataset) if items is None else items
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item
            row += 1


class _SentStream(_Stream):
    """Items of a stream that a worker reads and sends."""

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from super().__iter__()
        except InputError as error:
            yield _Unreadable(error.message, error.hint)


def item_of(dataset: Source, row: int) -> Any:
    """`dataset[row]`. Raises InputError with the row and the user's line where the Dataset raises an exception."""
    with UserCode(f"reading item {row} of the Dataset"):
        return dataset[row]


def item_seed(epoch: int, row: int) -> int:
    """The seed of an item's draws: both numbers through the mixer of SplitMix64 (Steele, Lea & Flood, 2014)."""
    z = (row + 1) * 0x9E3779B97F4A7C15 + epoch * 0xD1B54A32D192ED03
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return (z ^ (z >> 31)) & 0x7FFFFFFF


def epoch_aware(dataset: object, depth: int = 4) -> Iterator[Any]:
    """What takes the epoch by `set_epoch`: `dataset`, or those in its attributes (of a Subset, a ConcatDataset, a wrapper of one's own)."""
    if callable(getattr(dataset, "set_epoch", None)):
        yield dataset
    elif depth and isinstance(dataset, Dataset):
        for value in vars(dataset).values():
            several = isinstance(value, Mapping | list | tuple) and len(value) <= PARTS
            parts = value.values() if isinstance(value, Mapping) else value
            for one in parts if several else (value,):
                yield from epoch_aware(one, depth - 1)


def _set_epoch(dataset: Source, epoch: int) -> None:
    for one in epoch_aware(dataset):
        one.set_epoch(epoch)


def _begin_worker(epoch: int, _: int) -> None:
    seed_generators(epoch)


def _loader(dataset: Source, workers: int, **how: Any) -> DataLoader[Any]:
    """Blocks of items as workers read them, in order. It draws from no global generator of this process."""
    return DataLoader(
        dataset, SENT, num_workers=workers, collate_fn=_by_value, generator=torch.Generator(), **how
    )


def _by_value(items: list[Any]) -> list[Any]:
    """Items whose tensors are arrays: they are sent by value, since each shared tensor would hold a file open."""
    return [_arrays(item) for item in items]


def _arrays(value: Any) -> Any:
    if isinstance(value, Tensor):
        return as_value(value).numpy()  # type: ignore[union-attr]
    if isinstance(value, Mapping):
        return {key: _arrays(part) for key, part in value.items()}
    return tuple(map(_arrays, value)) if isinstance(value, tuple) else value


def tensors(item: Any, where: str, row: int) -> Values:
    """The tensors of an item (x, y), by their paths."""
    if isinstance(item, _Unreadable):
        raise InputError(f"{where}: {item.message}", hint=item.hint)
    x, y = _parted(item, where, row)
    inputs: Values = {("x", *path): as_value(value) for path, value in leaves_of(x)}
    return inputs | {("y", *path): as_value(value) for path, value in leaves_of(y)}


def _parted(item: Any, where: str, row: int) -> tuple[Any, Any]:
    """An item as (x, y)."""
    if isinstance(item, Mapping) and (key := next((name for name in LABELS if name in item), "")):
        return {name: value for name, value in item.items() if name != key}, item[key]
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    what = f"a {type(item).__name__}" + (f" of {len(item)}" if isinstance(item, tuple | list) else "")
    hint = 'return (x, y), or a dict with "labels"'
    if isinstance(item, Mapping):
        what = f"a dict of {', '.join(map(repr, item))}, and nothing says which one is the target"
        hint = 'call it "labels" (of a Hugging Face data set: .rename_column("NAME", "labels")), or return (x, y)'
    elif type(item).__module__.partition(".")[0] in ("pandas", "polars", "pyarrow"):
        hint = 'choose a format of tensors or arrays: .with_format("torch")'
    raise InputError(f"{where}: item {row} of the Dataset is {what}", hint=hint)


def as_value(value: Any) -> Tensor | np.ndarray:
    """A tensor on the CPU; an array for text."""
    if isinstance(value, Tensor):
        tensor = value.detach().cpu()
        return tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    array = np.asarray(value)
    if array.dtype.kind not in "fiubc":
        return array
    return torch.as_tensor(array if array.flags.writeable else array.copy())
