"""A task's splits on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ablate.tasks.batch_loss import BatchForm
from ablate.tasks.split import Split
from ablate.tasks.streamed import Inputs, Streamed
from ablate.tasks.task import Task


@dataclass(frozen=True)
class DeviceSplit:
    """`x` `[N, …]`, not on the device where it is streamed; `y` as in the task; `target` as of `Task.encoded`: one-hot float32
    `[N, C]`, values, or y itself. `form`: how targets stand beside inputs, for a loss that takes the batch."""

    x: Inputs
    y: Tensor
    target: Tensor
    form: BatchForm | None = None

    @classmethod
    def of(cls, split: Split, task: Task, device: torch.device) -> DeviceSplit:
        """The split's examples on a device; streamed inputs stay where they are."""
        y = split.y.to(device)
        x = split.x if isinstance(split.x, Streamed) else split.x.to(device)
        return cls(x, y, task.encoded(y), task.batch_form)

    @classmethod
    def joined(cls, parts: Sequence[DeviceSplit]) -> DeviceSplit:
        """The examples of `parts`, one part after the other."""
        if len(parts) == 1:
            return parts[0]
        x, y, target = (torch.cat([getattr(part, name) for part in parts]) for name in ("x", "y", "target"))
        return cls(x, y, target, parts[0].form)

    def __len__(self) -> int:
        return len(self.y)

    def at(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(`x` `[K, B, …]`, `target` `[K, B, …]`) of the examples `index`, int64 `[K, B]`; of a loss that takes the batch, `target` holds x too."""
        rows = index.reshape(-1)
        if isinstance(self.x, Streamed):
            raise TypeError("examples that are streamed come in windows")
        x, target = self.x.index_select(0, rows), self.target.index_select(0, rows)
        if self.form is not None:
            target = self.form.joined(x, target)
        return x.view(*index.shape, *x.shape[1:]), target.view(*index.shape, *target.shape[1:])

    @cached_property
    def judged(self) -> Tensor:
        """What evaluation takes as targets (`Task.judged`): y, or y and x `[N, W]`."""
        return self.judged_at(...)

    def judged_at(self, rows: Any) -> Tensor:
        """The same of the examples `rows`: an index of the first dimension."""
        y = self.y[rows]
        if self.form is None:
            return y
        assert isinstance(self.x, Tensor)
        return self.form.joined(self.x[rows], y)

    def blocks(self, size: int) -> Iterator[Tensor]:
        """The inputs on the device in blocks of `size` (`chunk_sizes`), read where they are streamed."""
        sizes = chunk_sizes(len(self), size)
        if isinstance(self.x, Streamed):
            for x in self.x.blocks(sizes):
                yield x.to(self.y.device)
        else:
            yield from torch.split(self.x, sizes)


def device_splits(task: Task, device: torch.device) -> dict[str, DeviceSplit]:
    """The task's splits on `device`, by name."""
    return {name: DeviceSplit.of(split, task, device) for name, split in task.splits.items()}


def chunk_sizes(count: int, size: int) -> list[int]:
    """Sizes of the chunks of `count` examples. The remainder is a separate chunk unless it is a single example, for
    which batch statistics are undefined: that joins the previous chunk."""
    sizes = [size] * (count // size)
    left = count - sum(sizes)
    if left == 1 and sizes:
        sizes[-1] += 1
    elif left:
        sizes.append(left)
    return sizes
