"""Running statistics of norm layers, estimated again for weights that were never trained with.

    s ← (1 / M) Σ_b s_b,    s_b: statistics of batch b under the weights that evaluation looks at

Averages of weights (`ema`, `swa`, the schedule-free optimizers) have other activations than the weights that training saw, to whose batches the running mean and
variance belong. Before such weights are evaluated, one pass over training examples in training mode, in shuffled batches of the run's size and
without augmentation, takes the plain mean over its batches. Lanes whose own weights are evaluated keep their statistics, bit for bit, and training goes on with the
statistics it had.
Lineage: Izmailov et al. 2018, section 3.2 (a pass over the data after averaging); `torch.optim.swa_utils.update_bn`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ablate.seams.draws import Draws, step_keys

if TYPE_CHECKING:
    from ablate.kernels.protocol import Forward
    from ablate.lanes.trainer import Trainer
    from ablate.seams.tensors import LaneTensors

MOST = 16384
"""Examples of a lane after which the pass ends: means over more batches hardly differ."""
FAR = 2.0**60
"""A running statistic to start from, against which a batch's own are nothing: what a pass keeps of it is 1 − momentum."""
COUNT = "num_batches_tracked"

Buffers = Mapping[str, Tensor]


def is_running(name: str) -> bool:
    """Whether a buffer follows its batches' statistics: torch's names for them, and those of the catalogue's norms."""
    return name.rpartition(".")[2].startswith("running_")


@contextmanager
def statistics_of(
    trainer: Trainer, weights: LaneTensors, lanes: Tensor, forward: Forward
) -> Iterator[None]:
    """Within the context `forward`, of the trainer's `lanes` (int64 `[k]`), has the running statistics of `weights`."""
    differs = (weights.flat != trainer.weights.flat[lanes]).any(dim=1)
    if not differs.any() or not any(map(is_running, forward.buffers())):
        yield
        return
    before = {name: buffer.clone() for name, buffer in forward.buffers().items()}
    try:
        means = _means(trainer, weights, lanes, forward, before)
        forward.load_buffers(
            {name: _of_lanes(name, differs, means.get(name, old), old) for name, old in before.items()}
        )
        yield
    finally:
        forward.load_buffers(before)


def batches(trainer: Trainer, lanes: Tensor) -> Iterator[Tensor]:
    """Inputs `[k, B, …]` of whole batches: a permutation of the lane's training examples, or as they come where items are read anew."""
    size = trainer.order.batch_size
    steps = min(trainer.order.steps_per_epoch, max(1, MOST // size))
    if trainer.data.redrawn:
        for _, x in zip(range(steps), trainer.data.chunks("train", lanes, size), strict=False):
            yield x
        return
    keys = step_keys(trainer.seeds, torch.zeros_like(trainer.steps))
    order = Draws(keys).permutation("running statistics", trainer.order.examples)
    for step in range(steps):
        yield trainer.data.batch(order[:, step * size : (step + 1) * size])[0][lanes]


def _means(
    trainer: Trainer, weights: LaneTensors, lanes: Tensor, forward: Forward, before: Buffers
) -> dict[str, Tensor]:
    named, keys = dict(weights.items()), trainer.seeds[lanes]
    total: dict[str, Tensor] = {}
    kept: dict[str, Tensor] = {}
    number = 0
    for x in batches(trainer, lanes):
        if not kept:
            far = _passed(trainer, forward, named, x, keys, FAR)
            kept = {name: value / FAR for name, value in far.items()}
        for name, value in _passed(trainer, forward, named, x, keys, 0.0).items():
            total[name] = total[name] + value if name in total else value
        number += 1
    # A batch that finds zero leaves momentum · s_b. Where everything is kept, the layer is not in use or its momentum is 0.
    return {
        name: torch.where(kept[name] < 1, value / (number * (1 - kept[name])), before[name].double())
        for name, value in total.items()
    }


def _passed(
    trainer: Trainer, forward: Forward, weights: Buffers, x: Tensor, keys: Tensor, start: float
) -> dict[str, Tensor]:
    """The running statistics after one batch that finds them at `start`, in float64."""
    forward.load_buffers(
        {
            name: torch.full_like(buffer, start) if is_running(name) else torch.zeros_like(buffer)
            for name, buffer in forward.buffers().items()
            if is_running(name) or name.endswith(COUNT)
        }
    )
    trainer.outputs(weights, x, keys, training=True, forward=forward)
    return {name: buffer.double() for name, buffer in forward.buffers().items() if is_running(name)}


def _of_lanes(name: str, differs: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` for the lanes that differ, else `old`. A buffer that is one lane's own is called "lane/path" and has one row."""
    lane = name.partition("/")[0]
    if len(old) == 1 and lane.isdigit():
        return new.to(old.dtype) if differs[int(lane)] else old
    return torch.where(differs.reshape(-1, *[1] * (old.ndim - 1)), new.to(old.dtype), old)
