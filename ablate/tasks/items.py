"""The items of a map-style Dataset, which may come out differently at each read.

Transforms that draw at random, or that change with the epoch, are part of training: such items are read anew each
epoch. A read is made with the global generators seeded by the epoch, and so is a function of the epoch alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ablate.records.errors import InputError
from ablate.tasks.packing import leaves_of, nested
from ablate.tasks.user_code import repeatable

TRIED = 32
"""Items that are read again, to see whether they are the same."""
Path = tuple[str | int, ...]
LABELS = ("labels", "label")
"""Keys of the target in an item that is a mapping, as in Hugging Face's data sets."""
Read = tuple[Any, np.ndarray]
"""Inputs (a tensor `[N, ...]`, or a dict or tuple of them) and targets."""


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
        """(x, y) of the items `rows`, as they are in epoch `epoch` (the first is 0)."""
        return self.prepare(*read(self.dataset, self.where, rows, epoch))


def read(dataset: Dataset[Any], where: str, rows: Sequence[int], epoch: int = 0) -> Read:
    """The items `rows`, stacked: x `[N, ...]` and y `[N, ...]`, drawn under the epoch's seed.

    Raises InputError for items that are no pair (x, y) or of different shapes. `where`: the split's name, for messages.
    """
    xs: list[dict[Path, Tensor]] = []
    ys: list[np.ndarray] = []
    with repeatable(epoch):
        if callable(set_epoch := getattr(dataset, "set_epoch", None)):
            set_epoch(epoch)
        for row in rows:
            x, y = _parted(dataset[row], where, row)
            xs.append({path: _as_tensor(value) for path, value in leaves_of(x)})
            ys.append(y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y))
            _check_like(xs[-1], xs[0], f"{where}: item {row}", f"item {rows[0]}")
    stacked = [(path, torch.stack([x[path] for x in xs])) for path in xs[0]]
    return nested(stacked), np.stack(ys)


def _parted(item: Any, where: str, row: int) -> tuple[Any, Any]:
    """An item as (x, y)."""
    if isinstance(item, Mapping) and (key := next((name for name in LABELS if name in item), "")):
        return {name: value for name, value in item.items() if name != key}, item[key]
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    hint = 'return (x, y), or a dict with "labels"'
    raise InputError(f"{where}: item {row} of the Dataset is {_what(item)}", hint=hint)


def _as_tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))


def _check_like(x: Mapping[Path, Tensor], first: Mapping[Path, Tensor], this: str, that: str) -> None:
    """Raise InputError where an item's tensors are not those of the first item, in name and shape."""
    if x.keys() != first.keys():
        name = "".join(f"[{key!r}]" for key in min(x.keys() ^ first.keys(), key=str))
        raise InputError(f"only one of {this} and {that} has x{name}", hint="give all items the same entries")
    for path, value in x.items():
        if value.shape != first[path].shape:
            name = "".join(f"[{key!r}]" for key in path)
            raise InputError(
                f"{this} has shape {list(value.shape)}, {that} has {list(first[path].shape)}{f', in x{name}' if name else ''}",
                hint="bring all examples to one shape (resize, pad) in the Dataset",
            )


def variation(dataset: Dataset[Any], where: str, first: Read) -> tuple[bool, bool]:
    """(whether items differ from read to read, whether a read repeats under the same seed). `first`: the read of epoch 0.

    Items differ if reading some of them again gives others, draws from a global generator, or if the Dataset has a
    `set_epoch`, as samplers and datasets do whose order or transforms change with the epoch.
    """
    size = len(first[1])
    rows = sorted({round(i * (size - 1) / max(1, TRIED - 1)) for i in range(min(TRIED, size))})
    draws = hasattr(dataset, "set_epoch")
    with repeatable():
        before = _generators()
        for row in rows:
            dataset[row]
        draws |= _generators() != before
    again, once_more, other = (read(dataset, where, rows, epoch) for epoch in (0, 0, 1))
    exact = _equal(again, once_more)
    stored = (nested([(path, value[rows]) for path, value in leaves_of(first[0])]), first[1][rows])
    return draws or not exact or not _equal(stored, other) or not _equal(stored, again), exact


def _equal(one: Read, other: Read) -> bool:
    pairs = zip(leaves_of(one[0]), leaves_of(other[0]), strict=True)
    same_x = all(
        a.shape == b.shape and torch.allclose(a, b, 0, 0, equal_nan=True) for (_, a), (_, b) in pairs
    )
    return same_x and one[1].shape == other[1].shape and bool((one[1] == other[1]).all())


def _generators() -> tuple[Any, ...]:
    """The state of torch's, Python's and NumPy's global generators."""
    _, words, *rest = np.random.get_state(legacy=True)
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), np.asarray(words).tobytes(), rest


def _what(value: Any) -> str:
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, tuple | list) else "")
