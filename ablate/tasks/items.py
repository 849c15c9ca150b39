"""The items of a map-style Dataset, which may come out differently at each read.

Transforms that draw at random, or that change with the epoch, are part of training: such items are read anew each
epoch. A read is made with the global generators seeded by the epoch, and so is a function of the epoch alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ablate.records.errors import InputError
from ablate.tasks.user_code import repeatable

TRIED = 32
"""Items that are read again, to see whether they are the same."""
Read = tuple[Tensor, np.ndarray]


@dataclass(frozen=True, eq=False)
class Items:
    """A Dataset whose items differ from read to read, and how they become tensors.

    prepare: (x `[N, ...]`, y) as read -> the tensors of a Split. exact: a read repeats under the same seed, because the
    Dataset draws from the global generators of torch, NumPy and Python only.
    """

    dataset: Dataset[Any]
    where: str
    prepare: Callable[[Tensor, np.ndarray], tuple[Tensor, Tensor]]
    exact: bool

    def at(self, rows: Sequence[int], epoch: int) -> tuple[Tensor, Tensor]:
        """(x, y) of the items `rows`, as they are in epoch `epoch` (the first is 0)."""
        return self.prepare(*read(self.dataset, self.where, rows, epoch))


def read(dataset: Dataset[Any], where: str, rows: Sequence[int], epoch: int = 0) -> Read:
    """The items `rows`, stacked: x `[N, ...]` and y `[N, ...]`, drawn under the epoch's seed.

    Raises InputError for items that are no pair (x, y) or of different shapes. `where`: the split's name, for messages.
    """
    xs: list[Tensor] = []
    ys: list[np.ndarray] = []
    with repeatable(epoch):
        if callable(set_epoch := getattr(dataset, "set_epoch", None)):
            set_epoch(epoch)
        for row in rows:
            item = dataset[row]
            if not isinstance(item, tuple | list) or len(item) != 2:
                raise InputError(f"{where}: item {row} of the Dataset is {_what(item)}", hint="return (x, y)")
            xs.append(item[0] if isinstance(item[0], Tensor) else torch.as_tensor(np.asarray(item[0])))
            ys.append(item[1].detach().cpu().numpy() if isinstance(item[1], Tensor) else np.asarray(item[1]))
            if xs[-1].shape != xs[0].shape:
                raise InputError(
                    f"{where}: item {row} has shape {list(xs[-1].shape)}, item {rows[0]} has {list(xs[0].shape)}",
                    hint="bring all examples to one shape (resize, pad) in the Dataset",
                )
    return torch.stack(xs), np.stack(ys)


def variation(dataset: Dataset[Any], where: str, first: Read) -> tuple[bool, bool]:
    """(whether items differ from read to read, whether a read repeats under the same seed). `first`: the read of epoch 0.

    Items differ if reading some of them again gives others, draws from a global generator, or if the Dataset has a
    `set_epoch`, as samplers and datasets do whose order or transforms change with the epoch.
    """
    size = len(first[0])
    rows = sorted({round(i * (size - 1) / max(1, TRIED - 1)) for i in range(min(TRIED, size))})
    draws = hasattr(dataset, "set_epoch")
    with repeatable():
        before = _generators()
        for row in rows:
            dataset[row]
        draws |= _generators() != before
    again, once_more, other = (read(dataset, where, rows, epoch) for epoch in (0, 0, 1))
    exact = _equal(again, once_more)
    stored = (first[0][rows], first[1][rows])
    return draws or not exact or not _equal(stored, other) or not _equal(stored, again), exact


def _equal(one: Read, other: Read) -> bool:
    same_x = one[0].shape == other[0].shape and torch.allclose(one[0], other[0], 0, 0, equal_nan=True)
    return same_x and one[1].shape == other[1].shape and bool((one[1] == other[1]).all())


def _generators() -> tuple[Any, ...]:
    """The state of torch's, Python's and NumPy's global generators."""
    _, words, *rest = np.random.get_state(legacy=True)
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), np.asarray(words).tobytes(), rest


def _what(value: Any) -> str:
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, tuple | list) else "")
