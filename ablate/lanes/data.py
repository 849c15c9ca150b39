"""A task's splits on the device, and the order in which lanes see the training examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ablate.seams.draws import Draws, step_keys
from ablate.tasks.split import Split
from ablate.tasks.task import Task


@dataclass(frozen=True)
class DeviceSplit:
    """`x` `[N, …]`; `y` as in the task; `target` as of `Task.encoded`: one-hot float32 `[N, C]`, values, or y itself."""

    x: Tensor
    y: Tensor
    target: Tensor

    @classmethod
    def of(cls, split: Split, task: Task, device: torch.device) -> DeviceSplit:
        y = split.y.to(device)
        return cls(split.x.to(device), y, task.encoded(y))

    @classmethod
    def joined(cls, parts: Sequence[DeviceSplit]) -> DeviceSplit:
        """The examples of `parts`, one part after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in ("x", "y", "target")))

    def __len__(self) -> int:
        return len(self.y)

    def at(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(`x` `[K, B, …]`, `target` `[K, B, …]`) of the examples `index`, int64 `[K, B]`."""
        rows = index.reshape(-1)
        x, target = self.x.index_select(0, rows), self.target.index_select(0, rows)
        return x.view(*index.shape, *x.shape[1:]), target.view(*index.shape, *target.shape[1:])


def device_splits(task: Task, device: torch.device) -> dict[str, DeviceSplit]:
    return {name: DeviceSplit.of(split, task, device) for name, split in task.splits.items()}


def chunk_sizes(count: int, size: int) -> list[int]:
    """Sizes of the chunks of `count` examples. The remainder is a chunk of its own unless it is a single example, for
    which batch statistics are undefined: that joins the previous chunk."""
    sizes = [size] * (count // size)
    left = count - sum(sizes)
    if left == 1 and sizes:
        sizes[-1] += 1
    elif left:
        sizes.append(left)
    return sizes


Change = Callable[[Tensor, int, Draws], Tensor]


class Order:
    """Which examples each lane sees at its step: a fresh permutation every epoch, drawn by counter.

    An epoch has floor(N / B) steps (at least one); the remaining examples differ from epoch to epoch.
    """

    def __init__(self, examples: int, batch_size: int) -> None:
        self.examples = examples
        self.batch_size = min(batch_size, examples)
        self.steps_per_epoch = max(1, examples // self.batch_size)
        self._steps: Tensor | None = None

    def shuffle(self, seeds: Tensor, epochs: Tensor, change: Change | None = None) -> None:
        """Permutations for lanes with seed keys int32 `[K]` in their epochs int64 `[K]` (the first is 0).

        `change` turns an order into another: (int64 `[K, steps · B]`, the batch size, the epoch's draws) -> the same shape.
        """
        draws = Draws(step_keys(seeds, epochs))
        used = draws.permutation("order", self.examples)[:, : self.steps_per_epoch * self.batch_size]
        if change is not None:
            used = change(used, self.batch_size, draws)
        by_step = used.reshape(len(seeds), self.steps_per_epoch, self.batch_size)
        self._steps = by_step.transpose(0, 1).contiguous()

    def at(self, within: int) -> Tensor:
        """int64 `[K, B]`: the examples of step `within` of the epoch. `shuffle` comes first."""
        assert self._steps is not None
        return self._steps[within]
