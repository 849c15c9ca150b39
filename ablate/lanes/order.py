"""The order in which lanes see the training examples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ablate.lanes.data import DeviceSplit
from ablate.records.errors import InputError
from ablate.seams.draws import Draws, seed_keys, step_keys
from ablate.tasks.streamed import Streamed

Change = Callable[[Tensor, int, Draws], Tensor]


class Order:
    """Which examples each lane sees at its step: a fresh permutation every epoch, drawn by counter.

    An epoch has floor(N / B) steps (one at least); the examples that are left over differ from epoch to epoch.
    window: most examples of a window, where examples are streamed. An epoch's windows are the same for all lanes, so that one read
    serves them all; within a window each lane has a permutation of its own. The examples of an epoch's windows are in an order drawn
    for the epoch (`mixed`), or in their own, as a stream gives them.
    """

    def __init__(
        self, examples: int, batch_size: int, window: int | None = None, *, mixed: bool = True
    ) -> None:
        self.examples = examples
        self.batch_size = min(batch_size, examples)
        self.steps_per_epoch = max(1, examples // self.batch_size)
        self.mixed = mixed
        self.steps_per_window = self.steps_per_epoch if window is None else max(1, window // self.batch_size)
        self.windowed = window is not None
        self._steps: Tensor | None = None
        self._changed = False

    @classmethod
    def of(cls, train: DeviceSplit, batch_size: int) -> Order:
        """The order of a task's training examples."""
        if not isinstance(train.x, Streamed):
            return cls(len(train), batch_size)
        return cls(len(train), batch_size, train.x.window, mixed=not train.x.items.reader.streams)

    @property
    def windows(self) -> list[range]:
        """Places of each window's examples in the epoch's order; the last has what is left over."""
        size = self.steps_per_window * self.batch_size
        starts = range(0, self.steps_per_epoch * self.batch_size, size)
        return [range(start, self.examples if start == starts[-1] else start + size) for start in starts]

    def in_epoch(self, epoch: int, device: torch.device) -> Tensor:
        """int64 `[N]`: the order in which windows take the examples in epoch `epoch` (the first is 0)."""
        if not self.mixed:
            return torch.arange(self.examples, device=device)
        keys = step_keys(seed_keys([0], device), torch.tensor([epoch], device=device))
        return Draws(keys).permutation("windows", self.examples)[0]

    def shuffle(self, seeds: Tensor, epochs: Tensor, change: Change | None = None) -> None:
        """Permutations for lanes with seed keys int32 `[K]` in their epochs int64 `[K]` (the first is 0).

        `change` makes another order of one: (int64 `[K, steps · B]`, the batch size, the epoch's draws) -> the same shape.
        Raises InputError for a change of examples that are streamed.
        """
        draws = Draws(step_keys(seeds, epochs))
        most = self.steps_per_epoch * self.batch_size
        if not self.windowed:
            used = draws.permutation("order", self.examples)[:, :most]
        else:
            used = self._by_window(draws, epochs)[:, :most]
        if change is not None:
            if self.windowed:
                raise InputError("the order of examples that are streamed cannot be changed", hint="leave balanced_sampling and data_echoing out")  # fmt: skip
            used = change(used, self.batch_size, draws)
        self._changed = change is not None
        by_step = used.reshape(len(seeds), self.steps_per_epoch, self.batch_size)
        self._steps = by_step.transpose(0, 1).contiguous()

    def _by_window(self, draws: Draws, epochs: Tensor) -> Tensor:
        orders = {epoch: self.in_epoch(epoch, epochs.device) for epoch in set(epochs.tolist())}
        common = torch.stack([orders[epoch] for epoch in epochs.tolist()])
        places = [
            places.start + draws.permutation(f"window {number}", len(places))
            for number, places in enumerate(self.windows)
        ]
        return common.gather(1, torch.cat(places, dim=1))

    def at(self, within: int) -> Tensor:
        """int64 `[K, B]`: the examples of step `within` of the epoch. `shuffle` comes first."""
        assert self._steps is not None
        return self._steps[within]

    def needed(self) -> Tensor | None:
        """The examples that a changed order holds in any lane, ascending int64; None for one that holds all of them."""
        return torch.unique(self._steps).cpu() if self._changed and self._steps is not None else None
