"""Short trainings in this process: a few lanes of the baseline for a number of steps.

Steps 1 to 3 of the protocol need more detail than a run records, so they use the Trainer directly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablate.lanes.context import TaskContext
from ablate.lanes.data import DeviceSplit
from ablate.lanes.memory import is_out_of_memory
from ablate.lanes.trainer import Trainer
from ablate.records.errors import AblateError
from ablate.records.run import Run
from ablate.tasks.split import Split, shuffled

T = TypeVar("T")
Array = NDArray[np.float64]
ALIVE_CHECK_STEPS = 20
"""Steps between two checks whether any lane is alive: a check synchronises the device."""


def moving_average(values: Array, window: int = 3) -> Array:
    """Centred moving average over `window` (odd) points, with a narrower window at the ends."""
    half = window // 2
    reaches = [min(half, i, len(values) - 1 - i) for i in range(len(values))]
    return np.array([values[at - reach : at + reach + 1].mean() for at, reach in enumerate(reaches)])


def map_lanes(context: TaskContext, runs: Sequence[Run], work: Callable[[Trainer], list[T]]) -> list[T]:
    """`work` applied to trainers of `runs`: all at once, or in parts if the model or the memory requires it.

    `work` returns one value per lane. Raises AblateError if not even one run fits in memory.
    """
    if context.solo and len(runs) > 1:
        return [value for run in runs for value in map_lanes(context, [run], work)]
    try:
        return work(Trainer(context, runs))
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if len(runs) == 1:
            raise AblateError(
                "lr-find: not even one run fits in memory", hint="use a smaller batch_size"
            ) from error
    half = len(runs) // 2
    return [value for part in (runs[:half], runs[half:]) for value in map_lanes(context, part, work)]


@dataclass(frozen=True, slots=True)
class LossTrace:
    """One lane's losses `[S]` by step; NaN from the first non-finite step on."""

    losses: Array

    @property
    def alive(self) -> bool:
        """Whether all losses are finite."""
        return bool(np.isfinite(self.losses).all())

    @property
    def finite_steps(self) -> int:
        """Number of steps before the first loss or gradient that was not finite."""
        broken = np.flatnonzero(~np.isfinite(self.losses))
        return int(broken[0]) if len(broken) else len(self.losses)


def train_steps(trainer: Trainer, steps: int, rates: Tensor | None = None) -> list[LossTrace]:
    """Train `steps` steps; `rates` `[steps]` multiplies the learning rates. Stops when no lane is alive."""
    rows: list[Tensor] = []
    for step in range(steps):
        factor = None if rates is None else rates[step].expand(trainer.lanes)
        loss, _ = trainer.step(factor)
        rows.append(loss.masked_fill(~trainer.alive, torch.nan))
        if step % ALIVE_CHECK_STEPS == 0 and not bool(trainer.alive.any()):
            break
    losses = torch.stack(rows, dim=1).cpu().double().numpy()
    padded = np.full((trainer.lanes, steps), np.nan)
    padded[:, : losses.shape[1]] = losses
    return [LossTrace(row) for row in padded]


def few_examples(context: TaskContext, count: int) -> TaskContext:
    """A context whose training data are `count` examples in one batch, selected by `spread_rows`."""
    return with_examples(
        context, context.task.train.sample(spread_rows(context.task.train, context.task.classes, count))
    )


def with_examples(context: TaskContext, sample: Split) -> TaskContext:
    """The context with other training data, in one batch."""
    task = context.task.but(train=sample, batch_size=len(sample))
    split = DeviceSplit.of(sample, context.task, context.device)
    return replace(context, task=task, splits={**context.splits, "train": split})


def spread_rows(split: Split, classes: int | None, count: int) -> NDArray[np.int64]:
    """Row numbers of at most `count` examples, spread over the split, with distinct inputs.

    Classes are balanced, so that rare classes are included and the sample's prior helps little.
    Duplicate inputs are left out: no model could fit them if their targets differ.
    """
    order = shuffled(len(split))
    if classes is not None:
        labels = split.y.numpy()[order]
        turn = np.zeros(len(order), dtype=np.int64)
        for label in range(classes):
            members = labels == label
            turn[members] = np.arange(int(members.sum()))
        order = order[np.lexsort((np.arange(len(order)), turn))]
    seen: set[int] = set()
    rows: list[int] = []
    keys = split.row_keys()
    for row in order.tolist():
        key = keys[row]
        if key not in seen:
            seen.add(key)
            rows.append(row)
        if len(rows) == count:
            break
    return np.array(rows, dtype=np.int64)
