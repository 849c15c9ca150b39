"""Running statistics that belong to the weights that evaluation looks at, lane by lane.

Averages of weights (`ema`, `swa`, the schedule-free optimizers) and earlier ones (`snapshot_ensemble`) have other activations than the weights of training, to whose batches
the running mean and variance belong. Before such weights are evaluated, a pass over training examples, in shuffled batches of the run's size and without augmentation, estimates them
again (`seams/running_statistics.py`). Lanes whose own weights are evaluated keep their statistics, bit for bit, and training goes on with those that it had.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ablate.kernels.protocol import Forward, Weights
from ablate.lanes.lane_splits import LaneSplits
from ablate.lanes.order import Order
from ablate.seams.draws import Draws, step_keys
from ablate.seams.running_statistics import estimated, is_running
from ablate.seams.tensors import LaneTensors


class TrainerState(Protocol):
    """What a pass needs of a trainer: its lanes' weights, seed keys, steps, order and data, and their outputs."""

    weights: LaneTensors
    seeds: Tensor
    steps: Tensor
    order: Order
    data: LaneSplits

    def outputs(
        self, weights: Weights, x: Tensor, keys: Tensor, *, training: bool, forward: Forward | None = None
    ) -> Tensor:
        """Model outputs `[K, B, …]`."""
        ...


MOST = 16384
"""Examples of a lane after which the pass ends: means over more batches hardly differ."""
REMEMBERED = 6
"""Passes whose result is kept: several batches and splits are evaluated at the same weights, in turn with those of other snapshots."""
_latest: WeakKeyDictionary[TrainerState, deque[tuple[Tensor, Tensor, dict[str, Tensor]]]] = (
    WeakKeyDictionary()
)
"""Trainer -> the weights and lanes of its latest passes, and what each found."""


@contextmanager
def statistics_of(
    trainer: TrainerState, weights: LaneTensors, lanes: Tensor, forward: Forward
) -> Iterator[None]:
    """Within the context `forward`, of the trainer's `lanes` (int64 `[k]`), has the running statistics of `weights`."""
    if not any(map(is_running, forward.buffers())):
        yield
        return
    differs = (weights.flat != trainer.weights.flat[lanes]).any(dim=1)
    if not differs.any():
        yield
        return
    before = {name: buffer.clone() for name, buffer in forward.buffers().items()}
    try:
        new = _estimated(trainer, weights, lanes, forward)
        forward.load_buffers({name: _of_lanes(name, differs, new[name], old) for name, old in before.items()})
        yield
    finally:
        forward.load_buffers(before)


@torch.no_grad()
def _estimated(
    trainer: TrainerState, weights: LaneTensors, lanes: Tensor, forward: Forward
) -> dict[str, Tensor]:
    passes = _latest.setdefault(trainer, deque(maxlen=REMEMBERED))
    for flat, lanes_of_pass, statistics in passes:
        if torch.equal(lanes_of_pass, lanes) and torch.equal(flat, weights.flat):
            return statistics
    named, keys = dict(weights.items()), trainer.seeds[lanes]
    new = estimated(
        batches(trainer, lanes),
        lambda x: trainer.outputs(named, x, keys, training=True, forward=forward),
        forward.buffers,
        forward.load_buffers,
    )
    passes.append((weights.flat.clone(), lanes, new))
    return new


def steps_of_pass(order: Order) -> int:
    """Number of batches."""
    return min(order.steps_per_epoch, max(1, MOST // order.batch_size))


def batches(trainer: TrainerState, lanes: Tensor) -> Iterator[Tensor]:
    """Inputs `[k, B, …]` of whole batches: a permutation of the lane's training examples, or as they come where items are read anew."""
    size, steps = trainer.order.batch_size, steps_of_pass(trainer.order)
    if trainer.data.redrawn:
        for _, x in zip(range(steps), trainer.data.chunks("train", lanes, size), strict=False):
            yield x
        return
    keys = step_keys(trainer.seeds, torch.zeros_like(trainer.steps))
    order = Draws(keys).permutation("running statistics", trainer.order.examples)
    for step in range(steps):
        yield trainer.data.batch(order[:, step * size : (step + 1) * size])[0][lanes]


def _of_lanes(name: str, differs: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` for the lanes that differ, else `old`. A buffer that is one lane's own is called "lane/path" and has one row."""
    lane = name.partition("/")[0]
    if len(old) == 1 and lane.isdigit():
        return new if differs[int(lane)] else old
    return torch.where(differs.reshape(-1, *[1] * (old.ndim - 1)), new, old)
