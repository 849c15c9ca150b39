"""The streamed training examples of an epoch, one window of them held at a time, for all lanes that are in that epoch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ablate.lanes.data import DeviceSplit
from ablate.lanes.order import Order
from ablate.tasks.streamed import Streamed
from ablate.tasks.task import Task


class EpochWindows:
    """Windows of one epoch, in their order. `show` moves on to a window and reads those between only of a stream."""

    def __init__(self, task: Task, x: Streamed, order: Order, epoch: int, device: torch.device) -> None:
        self.task, self.x, self.order, self.epoch, self.device = task, x, order, epoch, device
        self.examples = order.in_epoch(epoch, torch.device("cpu"))
        self.places = torch.full((len(x),), -1, dtype=torch.int64)
        self.next = 0
        self.window: DeviceSplit | None = None
        self._reads: Iterator[tuple[Tensor, Tensor]] | None = None

    def show(self, number: int) -> None:
        """Hold window `number`, which is the present one or a later one."""
        while self.next <= number:
            if self._reads is None:
                # A stream is passed through from its beginning; elsewhere a resumed epoch begins where it stood.
                self.next = 0 if self.x.items.reader.streams else number
                self._reads = self._read(self.next)
            self.window = None  # one window at a time, also while the next is read
            x, y = next(self._reads)
            own = self.examples[list(self.order.windows[self.next])]
            self.next += 1
            if self.next <= number:
                continue
            if self.device.type == "cuda":
                x = x.pin_memory()
            y = y.to(self.device)
            self.window = DeviceSplit(x.to(self.device, non_blocking=True), y, self.task.encoded(y))
            self.places.fill_(-1)
            self.places[own] = torch.arange(len(own))

    def _read(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        windows = self.order.windows[first:]
        rows = self.x.rows[self.examples[windows[0].start :].numpy()]
        return self.x.items.blocks(rows.tolist(), self.epoch, [len(places) for places in windows])

    def at(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(`x` `[K, B, …]`, `target` `[K, B, …]`) of the examples `index`, int64 `[K, B]`, of the window that is held."""
        assert self.window is not None
        places = self.places[index.cpu()]
        assert int(places.min()) >= 0, "an example of another window"
        return self.window.at(places.to(self.device))


class Windows:
    """The windows of the epochs that the lanes are in."""

    def __init__(self, task: Task, order: Order, device: torch.device) -> None:
        self.task, self.order, self.device = task, order, device
        self._ages: list[int] = []
        self._epochs: dict[int, EpochWindows] = {}

    def show(self, epochs: list[int], within: int) -> None:
        """Hold the examples of step `within` of the lanes' epochs (`[K]`, from 0)."""
        x = self.task.train.x
        assert isinstance(x, Streamed)
        number = within // self.order.steps_per_window
        if within == 0:
            self._epochs = {}  # each epoch is read once, and a new group of lanes from its beginning
        for epoch in sorted(set(epochs)):
            if epoch not in self._epochs:
                self._epochs[epoch] = EpochWindows(self.task, x, self.order, epoch, self.device)
            self._epochs[epoch].show(number)
        self._epochs = {epoch: self._epochs[epoch] for epoch in set(epochs)}
        self._ages = epochs

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(`x` `[K, B, …]`, `target` `[K, B, …]`) of the lanes' examples `index`, int64 `[K, B]`."""
        if len(self._epochs) == 1:
            return self._epochs[self._ages[0]].at(index)
        lanes = [
            self._epochs[age].at(own[None]) for age, own in zip(self._ages, index.unbind(0), strict=True)
        ]
        return torch.cat([x for x, _ in lanes]), torch.cat([target for _, target in lanes])
