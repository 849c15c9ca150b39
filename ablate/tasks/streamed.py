"""Inputs that are not in memory: they are read when they are needed, a window at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import Tensor

from ablate.tasks import memory_limit
from ablate.tasks.items import Items

SAMPLE = 512
"""Most examples in a sample from which statistics of the inputs are computed."""


@dataclass(frozen=True, eq=False)
class Streamed:
    """x of a split, `[N, …]`, whose examples a Dataset reads on demand. Indexed like a tensor, it reads them.

    rows: int64 `[N]`, the position of each example in the Dataset. head: the first examples (as many as there are, or a few).
    keys: uint64 `[N]`, equal where examples are. broken: bool `[N]`, which hold NaN or infinity.
    """

    items: Items
    rows: np.ndarray
    head: Tensor
    keys: np.ndarray
    broken: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> torch.Size:
        """Shape of all examples, `[N, …]`."""
        return torch.Size((len(self), *self.head.shape[1:]))

    @property
    def ndim(self) -> int:
        """Number of dimensions, examples included."""
        return self.head.ndim

    @property
    def dtype(self) -> torch.dtype:
        """Type of the examples."""
        return self.head.dtype

    @property
    def example_bytes(self) -> int:
        """Bytes of one example."""
        return max(1, prod(self.head.shape[1:]) * self.head.element_size())

    @property
    def nbytes(self) -> int:
        """Bytes of all examples, if they were in memory."""
        return len(self) * self.example_bytes

    @property
    def window(self) -> int:
        """Examples that are read at a time."""
        return max(1, memory_limit.WINDOW // self.example_bytes)

    def is_floating_point(self) -> bool:
        """Whether the examples are floating-point numbers."""
        return self.head.is_floating_point()

    def __getitem__(self, index: slice | np.ndarray | Tensor) -> Tensor:
        """The examples at these positions, as in epoch 0."""
        if isinstance(index, slice):
            positions = np.arange(len(self))[index]
            if len(positions) and positions.max() < len(self.head):
                return self.head[torch.from_numpy(positions)]
        else:
            positions = np.asarray(index)
        order = np.argsort(positions, kind="stable")  # a stream is read in its order
        wanted, places = np.unique(positions[order], return_inverse=True)
        x, _ = self.items.at(self.rows[wanted].tolist(), 0)
        examples = torch.empty(len(positions), *x.shape[1:], dtype=x.dtype)
        examples[torch.from_numpy(order)] = x[torch.from_numpy(places)]
        return examples

    def take(self, positions: np.ndarray) -> Tensor | Streamed:
        """The examples at `positions` (ascending in a stream), in memory if they are few enough."""
        if len(positions) * self.example_bytes <= memory_limit.memory_bytes():
            return self[positions]
        return Streamed(
            self.items,
            self.rows[positions],
            self[positions[: len(self.head)]],
            self.keys[positions],
            self.broken[positions],
        )

    def blocks(self, sizes: Sequence[int]) -> Iterator[Tensor]:
        """All examples in their order, as in epoch 0, in blocks of that many."""
        for x, _ in self.items.blocks(self.rows.tolist(), 0, sizes):
            yield x

    @cached_property
    def sample(self) -> Tensor:
        """Some examples, spread over all (of a stream the first), within a window's bytes."""
        count = min(SAMPLE, self.window, len(self))
        reach = count if self.items.reader.streams else len(self)
        return self[np.arange(count) * reach // count]


Inputs = Tensor | Streamed


def sample_of(x: Inputs) -> Tensor:
    """x itself if it is in memory, else some of it."""
    return x.sample if isinstance(x, Streamed) else x
