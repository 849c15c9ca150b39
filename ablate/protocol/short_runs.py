"""Small trainings in this process: the baseline's recipe, some lanes, a number of steps.

Steps 1 to 3 look closer than a whole run can, so they hold the Trainer themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import log10
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablate.catalogue.registry import Registry
from ablate.lanes.context import TaskContext
from ablate.lanes.data import DeviceSplit
from ablate.lanes.memory import is_out_of_memory
from ablate.lanes.trainer import Trainer
from ablate.records.errors import AblateError
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.tasks.split import Split, shuffled

T = TypeVar("T")
Array = NDArray[np.float64]
MOMENTUM = 0.9
PATIENCE = 20
"""So many steps between two looks at whether any lane still lives: a look makes the device wait."""


def recipe(catalogue: Registry, rate: float, decay: float = 0.0) -> Recipe:
    """The baseline: SGD with momentum 0.9, weight decay beside it where there is any, and no trick."""
    tricks: dict[str, dict[str, float]] = {"momentum": {"lr": rate, "momentum": MOMENTUM}}
    if decay > 0:
        tricks["weight_decay"] = {"decay": decay}
    return Recipe.of(catalogue, tricks)


def run_of(context: TaskContext, rate: float, decay: float, seed: int, epochs: int = 1) -> Run:
    return Run(context.task.name, recipe(context.catalogue, rate, decay), seed, epochs)


def round_rate(rate: float) -> float:
    """Two significant digits: a rate that a person would write."""
    return float(f"{rate:.2g}")


def rates_around(center: float, count: int, per_decade: float) -> list[float]:
    """`count` (odd) rates, evenly spaced in the logarithm, `per_decade` to a decade, `center` in the middle."""
    half = count // 2
    return [round_rate(10 ** (log10(center) + place / per_decade)) for place in range(-half, half + 1)]


def moving_average(values: Array, window: int = 3) -> Array:
    """Centred average over `window` (odd) points, narrower at the ends: no lag, and it ends at the data."""
    half = window // 2
    reaches = [min(half, place, len(values) - 1 - place) for place in range(len(values))]
    return np.array([values[at - reach : at + reach + 1].mean() for at, reach in enumerate(reaches)])


def map_lanes(context: TaskContext, runs: Sequence[Run], work: Callable[[Trainer], list[T]]) -> list[T]:
    """`work` on trainers that hold `runs`: all at once, or as few at a time as the model or memory asks for.

    `work` gives one value a lane. Raises AblateError where not even one run fits in memory.
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
                "lr-find: not even one run fits in memory", hint="take a smaller batch_size"
            ) from error
    half = len(runs) // 2
    return [value for part in (runs[:half], runs[half:]) for value in map_lanes(context, part, work)]


@dataclass(frozen=True, slots=True)
class LossTrace:
    """One lane's losses `[S]`, step by step; NaN from the step on which it was not finite."""

    losses: Array

    @property
    def alive(self) -> bool:
        return bool(np.isfinite(self.losses).all())

    @property
    def finite_steps(self) -> int:
        """Steps before the first loss or gradient that was not finite."""
        broken = np.flatnonzero(~np.isfinite(self.losses))
        return int(broken[0]) if len(broken) else len(self.losses)


def train_steps(trainer: Trainer, steps: int, rates: Tensor | None = None) -> list[LossTrace]:
    """Train `steps` steps; `rates` `[steps]` multiplies the learning rates. Stops where all lanes are dead."""
    rows: list[Tensor] = []
    for step in range(steps):
        factor = None if rates is None else rates[step].expand(trainer.lanes)
        loss, _ = trainer.step(factor)
        rows.append(loss.masked_fill(~trainer.alive, torch.nan))
        if step % PATIENCE == 0 and not bool(trainer.alive.any()):
            break
    losses = torch.stack(rows, dim=1).cpu().double().numpy()
    padded = np.full((trainer.lanes, steps), np.nan)
    padded[:, : losses.shape[1]] = losses
    return [LossTrace(row) for row in padded]


def few_examples(context: TaskContext, count: int) -> TaskContext:
    """A bench whose training data are `count` examples, in one batch. See `spread_rows` for which."""
    return with_examples(
        context, context.task.train.take(spread_rows(context.task.train, context.task.classes, count))
    )


def with_examples(context: TaskContext, sample: Split) -> TaskContext:
    """The bench with other training data, all of it one batch."""
    task = context.task.but(train=sample, batch_size=len(sample))
    split = DeviceSplit.of(sample, context.task.classes, context.device)
    return replace(context, task=task, splits={**context.splits, "train": split})


def spread_rows(split: Split, classes: int | None, count: int) -> NDArray[np.int64]:
    """Rows of at most `count` examples, spread over the split, no two with equal inputs.

    Classes take turns, so that a rare class is in the sample too and the sample's prior tells little.
    Equal inputs are left out: with different targets nobody could fit both.
    """
    order = shuffled(len(split))
    if classes is not None:
        labels = split.y.numpy()[order]
        turn = np.zeros(len(order), dtype=np.int64)
        for label in range(classes):
            members = labels == label
            turn[members] = np.arange(int(members.sum()))
        order = order[np.lexsort((np.arange(len(order)), turn))]
    seen: set[bytes] = set()
    rows: list[int] = []
    for row in order.tolist():
        key = split.x[row].numpy().tobytes()
        if key not in seen:
            seen.add(key)
            rows.append(row)
        if len(rows) == count:
            break
    return np.array(rows, dtype=np.int64)
