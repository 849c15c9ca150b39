"""Splits of a data set, and how missing ones are taken from the training data, reproducibly."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ablate.records.errors import InputError
from ablate.tasks.items import Items, row_key
from ablate.tasks.memory_limit import memory_bytes
from ablate.tasks.packing import Packing
from ablate.tasks.streamed import Inputs, Streamed


@dataclass(frozen=True, eq=False)
class Split:
    """Examples and targets in CPU memory; or streamed examples (`Streamed`), of which only targets are in memory.

    x: float32 `[N, C, H, W]` (images), `[N, F]` (tables) or any `[N, ...]`; token ids are int64 `[N, T]`.
    y: int64 `[N]` for classification; float32 `[N, D]` for regression (D = 1 for a single target); else `[N, ...]`.
    rows: the index of each example in the user's data, from 0; None: the same index.
    items: the Dataset from which the examples were read, if they differ at each read.
    packing: the layout of nested inputs in the columns of x. target_packing: that of nested targets in y.
    """

    x: Inputs
    y: Tensor
    rows: np.ndarray | None = None
    items: Items | None = None
    packing: Packing | None = None
    target_packing: Packing | None = None

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise InputError(
                f"x has {len(self.x)} rows and y has {len(self.y)}", hint="give one y for each x"
            )

    def __len__(self) -> int:
        return len(self.y)

    @property
    def streams(self) -> bool:
        """Whether the examples are not in memory, but read when they are needed."""
        return isinstance(self.x, Streamed)

    def take(self, rows: np.ndarray) -> Split:
        """The examples at `rows` (int64 indices), in that order."""
        index = torch.from_numpy(np.ascontiguousarray(rows))
        numbers = rows if self.rows is None else self.rows[rows]
        x = self.x.take(rows) if isinstance(self.x, Streamed) else self.x[index]
        return replace(self, x=x, y=self.y[index], rows=numbers)

    def sample(self, rows: np.ndarray) -> Split:
        """The examples at `rows`, in memory; the first of them if they are streamed and would not fit."""
        if isinstance(self.x, Streamed):
            rows = rows[: max(1, memory_bytes() // self.x.example_bytes)]
        return self.take(rows)

    @property
    def in_memory(self) -> Tensor:
        """x as a tensor. Raises TypeError for a split that is streamed."""
        if isinstance(self.x, Streamed):
            raise TypeError("streamed examples are not in memory")
        return self.x

    def in_epoch(self, epoch: int, needed: Tensor | None = None) -> Split:
        """The examples as of epoch `epoch` (from 0): read again if their Dataset's items differ at each read.

        needed: the examples (int64 indices) to read, all if None; the others stay as they are.
        """
        if self.items is None or epoch == 0 or isinstance(self.x, Streamed):
            return self
        if needed is None:
            x, y = self.items.at(self.places.tolist(), epoch)
            return replace(self, x=x, y=y)
        read_x, read_y = self.items.at(self.places[needed.numpy()].tolist(), epoch)
        x, y = self.x.clone(), self.y.clone()
        x[needed], y[needed] = read_x, read_y
        return replace(self, x=x, y=y)

    @property
    def places(self) -> np.ndarray:
        """The position of each example in the user's data, int64 `[N]`."""
        return np.arange(len(self)) if self.rows is None else self.rows

    def row_keys(self) -> list[int]:
        """A number for each example that is the same where inputs are, bit for bit."""
        if isinstance(self.x, Streamed):
            return [int(key) for key in self.x.keys]
        return [row_key(row.tobytes()) for row in self.x.flatten(1).numpy()]

    def row(self, position: int) -> int:
        """The row in the user's data (from 0) of the example at `position`."""
        return position if self.rows is None else int(self.rows[position])


def shuffled(count: int, seed: int = 0) -> np.ndarray:
    """A permutation of 0 … count-1 that is the same on every machine and with every library version.

    Orders the numbers by their image under the mixer of SplitMix64 (Steele, Lea & Flood, 2014), independent of any
    random generator.
    """
    with np.errstate(over="ignore"):
        z = (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(seed) * np.uint64(0xD1B54A32D192ED03)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return np.argsort(z, kind="stable")


def resplit(train: Split, validation: Split, seed: int, *, stratified: bool) -> tuple[np.ndarray, np.ndarray]:
    """Split the rows of train and validation (in this order: 0 … N-1) anew, as a function of `seed`.

    Returns (training rows, validation rows), int64, sorted, of the sizes that the splits have. `stratified`: by
    class, so that each class keeps its numbers of training and validation examples.
    """
    count = len(train) + len(validation)
    is_validation = np.arange(count) >= len(train)
    strata = (
        np.concatenate([train.y.numpy(), validation.y.numpy()])
        if stratified
        else np.zeros(count, dtype=np.int64)
    )
    order = shuffled(count, seed)
    chosen = np.zeros(count, dtype=bool)
    for value in np.unique(strata):
        rows = order[strata[order] == value]
        chosen[rows[: int(is_validation[strata == value].sum())]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def random_parts(
    count: int, pattern: str, strata: np.ndarray | None = None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Assign `count` rows to parts in turn: `pattern` "TVSTT" gives 3/5 to T and 1/5 each to V and S.

    With `strata` (int `[count]`) each stratum is assigned separately, starting at the pattern's first
    letter: a class of one example goes to training, and every class keeps its share within one example.
    Returns sorted row numbers for each letter.
    """
    order = shuffled(count, seed)
    position = np.empty(count, dtype=np.int64)
    groups = [order] if strata is None else [order[strata[order] == value] for value in np.unique(strata)]
    for rows in groups:
        position[rows] = np.arange(len(rows)) % len(pattern)
    letters = np.array(list(pattern))[position]
    return {letter: np.flatnonzero(letters == letter) for letter in dict.fromkeys(pattern)}


def data_sha256(criterion: str, splits: Mapping[str, Split]) -> str:
    """SHA-256 of every split's numbers and shapes; of inputs that a Dataset draws at random and cannot repeat, only shapes."""
    digest = hashlib.sha256(criterion.encode())
    for where, split in splits.items():
        digest.update(f"{where} {list(split.x.shape)} {list(split.y.shape)}".encode())
        if isinstance(split.x, Streamed):
            digest.update(split.x.keys.data if split.x.items.exact else b"")
        elif split.items is None or split.items.exact:
            digest.update(split.x.numpy().data)
        digest.update(split.y.numpy().data)
    return digest.hexdigest()
