"""The examples that each lane is trained and validated on.

Most runs use the task's splits. A run whose seed asks for it (`Run.resplit`) has its training and validation rows
split anew, as a function of the seed: an effect measured on one split need not hold on another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ablate.lanes.data import DeviceSplit, chunk_sizes
from ablate.lanes.order import Order
from ablate.lanes.windows import Windows
from ablate.records.errors import InputError
from ablate.records.run import Run
from ablate.tasks.split import resplit
from ablate.tasks.task import Task

DEALT = ("train", "validation")


class LaneSplits:
    """A task's splits, lane by lane.

    `rows`: split -> int64 `[K, N]`, the lanes' rows of the pool of training and validation examples; empty if every
    lane has the task's splits, which then costs nothing.
    """

    def __init__(self, task: Task, splits: dict[str, DeviceSplit], runs: Sequence[Run], order: Order) -> None:
        self.task, self.splits, self.order = task, splits, order
        self.device = splits["train"].y.device
        self.windows = Windows(task, order, self.device) if task.train.streams else None
        self.rows: dict[str, Tensor] = {}
        self._pool: DeviceSplit | None = None
        self._drawn: dict[int, DeviceSplit] = {}
        self._ages: list[int] = []
        self._needed: Tensor | None = None
        if any(run.resplit for run in runs):
            if task.train.streams:
                raise InputError("streamed examples cannot be split anew by a run's seed", hint="run the study again: its ranking keeps one split")  # fmt: skip
            stratified = task.classes is not None
            fixed = torch.arange(len(task.train)), torch.arange(len(task.validation)) + len(task.train)
            lanes = [
                tuple(
                    map(
                        torch.from_numpy,
                        resplit(task.train, task.validation, run.seed, stratified=stratified),
                    )
                )
                if run.resplit
                else fixed
                for run in runs
            ]
            self.rows = {
                name: torch.stack([lane[part] for lane in lanes]).to(self.device)
                for part, name in enumerate(DEALT)
            }

    @property
    def pool(self) -> DeviceSplit:
        """Training and validation examples, in this order."""
        if self._pool is None:
            self._pool = DeviceSplit.joined([self.splits[name] for name in DEALT])
        return self._pool

    @property
    def redrawn(self) -> bool:
        """Whether training items are read again each epoch."""
        return self.task.train.items is not None

    def begin_step(self, within: int, epochs: Tensor | None) -> None:
        """Have the examples of step `within` at hand, where items are read anew each epoch; epochs (int64 `[K]`, from 0): those of
        the lanes, if an epoch begins or lanes have changed."""
        if not self.redrawn:
            return
        if self.windows is not None:
            self._ages = self._ages if epochs is None else epochs.tolist()
            self.windows.show(self._ages, within)
        elif epochs is not None:
            self._draw(epochs)

    def _draw(self, epochs: Tensor) -> None:
        """Read the training items of the lanes' epochs: all of them, or those that a changed order (data echoing) holds."""
        self._ages = epochs.tolist()
        needed = None if self.rows else self.order.needed()
        known = self._drawn if _are_equal(needed, self._needed) else {}
        self._needed = needed
        self._drawn = {
            epoch: known.get(epoch) or self._examples_in(epoch, needed) for epoch in sorted(set(self._ages))
        }

    def _examples_in(self, epoch: int, needed: Tensor | None) -> DeviceSplit:
        """The training examples as of `epoch`, followed by the validation examples if lanes split both anew."""
        names = DEALT if self.rows else ("train",)
        parts = [
            DeviceSplit.of(self.task.splits[name].in_epoch(epoch, needed), self.task, self.device)
            for name in names
        ]
        return DeviceSplit.joined(parts)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(`x` `[K, B, …]`, `target` `[K, B, …]`) of the lanes' training examples `index`, int64 `[K, B]`."""
        if self.windows is not None:
            return self.windows.batch(index)
        if self.rows:
            index = self.rows["train"].gather(1, index)
        if not self.redrawn:
            return (self.pool if self.rows else self.splits["train"]).at(index)
        if len(self._drawn) == 1:
            return self._drawn[self._ages[0]].at(index)
        lanes = [
            self._drawn[age].at(rows[None]) for age, rows in zip(self._ages, index.unbind(0), strict=True)
        ]
        return torch.cat([x for x, _ in lanes]), torch.cat([target for _, target in lanes])

    def chunks(self, split: str, lanes: Tensor, size: int) -> Iterator[Tensor]:
        """The inputs of `split` for the lanes `lanes` (int64 `[k]`), `[k, B, …]` of `size` examples each (`chunk_sizes`)."""
        if split not in self.rows:
            for x in self.splits[split].blocks(size):
                yield x.expand(len(lanes), *x.shape)
            return
        rows_of = self.rows[split][lanes]
        for rows in torch.split(rows_of, chunk_sizes(rows_of.shape[1], size), dim=1):
            yield self.pool.at(rows)[0]

    def examples(self, split: str, lanes: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """`chunks` with their y: `[B, …]`, or `[k, B, …]` if each lane has its own."""
        y = self.targets(split, lanes)
        along = 1 if split in self.rows else 0
        parts = torch.split(y, chunk_sizes(y.shape[along], size), dim=along)
        yield from zip(self.chunks(split, lanes, size), parts, strict=True)

    def targets(self, split: str, lanes: Tensor | None = None) -> Tensor:
        """y of `split` as evaluation takes it (`Task.judged`): `[N, …]` if all lanes share it, else `[k, N, …]`."""
        if split not in self.rows:
            return self.splits[split].judged
        rows = self.rows[split] if lanes is None else self.rows[split][lanes]
        return self.pool.judged_at(rows)

    def targets_of(self, lane: int, split: str) -> Tensor:
        """One lane's y of `split`, as of `targets`: `[N, …]`."""
        return (
            self.pool.judged_at(self.rows[split][lane]) if split in self.rows else self.splits[split].judged
        )

    def take(self, lanes: Tensor) -> None:
        """Keep the lanes at the positions `lanes`, in that order."""
        self.rows = {name: rows[lanes] for name, rows in self.rows.items()}

    def extend(self, other: LaneSplits, before: int, more: int) -> None:
        """Append the lanes of `other`. `before`, `more`: the numbers of lanes of the two."""
        if not (self.rows or other.rows):
            return
        self._drawn = {}
        self.rows = {name: torch.cat([self._rows(name, before), other._rows(name, more)]) for name in DEALT}

    def _rows(self, name: str, lanes: int) -> Tensor:
        if self.rows:
            return self.rows[name]
        first = 0 if name == "train" else len(self.task.train)
        rows = torch.arange(first, first + len(self.task.splits[name]), device=self.device)
        return rows.expand(lanes, -1)


def _are_equal(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other if one is None or other is None else torch.equal(one, other)
