"""Overfit a few examples, one lane per rate, and collect what the diagnosis needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ablate.lanes.trainer import Trainer
from ablate.protocol.short_runs import Array, LossTrace, map_lanes, train_steps
from ablate.protocol.steps import Setup

STEPS, CHUNK = 400, 25
"""Maximum number of steps, and steps between two evaluations of the scores."""

PATIENCE, STILL = 3, 0.01
"""A fit ends where no lane's mean loss of this many chunks is lower by this fraction than that of as many before."""


@dataclass(frozen=True, slots=True)
class SampleFit:
    """The fit of the sample with one rate.

    `score`: training accuracy, explained fraction of the targets' variance, or the negative of a custom loss; like `loss` in
    evaluation mode. `unmoved`: parameters that never changed, of `tensors`. `constant`: the outputs are equal for all
    examples. `symmetric`: number of weight tensors below the head whose rows are all equal, and of all of them.
    """

    rate: float
    trace: LossTrace
    score: float
    loss: float
    unmoved: tuple[str, ...]
    tensors: int
    constant: bool
    symmetric: tuple[int, int]

    @property
    def losses(self) -> Array:
        """The losses by step."""
        return self.trace.losses

    @property
    def alive(self) -> bool:
        """Whether all losses are finite."""
        return self.trace.alive


def fit(setup: Setup, rates: Sequence[float], goal: float, steps: int = STEPS) -> list[SampleFit]:
    """Train one lane per rate on the training data of the setup's context until one of them scores `goal`."""
    runs = [setup.short_run(rate) for rate in rates]
    optimizer = setup.baseline.optimizer.name

    def work(trainer: Trainer) -> list[SampleFit]:
        before = {name: tensor.clone() for name, tensor in trainer.weights.items()}
        pieces: list[list[LossTrace]] = []
        for done in range(0, steps, CHUNK):
            pieces.append(train_steps(trainer, min(CHUNK, steps - done)))
            scores, losses, constant = scored(trainer)
            alive = trainer.alive.tolist()
            if any(score >= goal and lives for score, lives in zip(scores, alive, strict=True)):
                break
            if not any(alive) or hopeless(pieces):
                break
        symmetric = equal_rows(trainer, before)
        return [
            SampleFit(
                rate=float(run.recipe[optimizer]["lr"]),
                trace=LossTrace(np.concatenate([piece[lane].losses for piece in pieces])),
                score=scores[lane],
                loss=losses[lane],
                unmoved=tuple(
                    name
                    for name, old in before.items()
                    if torch.equal(trainer.weights[name][lane], old[lane])
                ),
                tensors=len(before),
                constant=constant[lane],
                symmetric=symmetric[lane],
            )
            for lane, run in enumerate(trainer.group.runs)
        ]

    return map_lanes(setup.context, runs, work)


def hopeless(pieces: Sequence[Sequence[LossTrace]]) -> bool:
    """Whether no lane's loss fell in the last `PATIENCE` chunks. `pieces`: chunk by chunk, the lanes' traces."""
    if len(pieces) < 2 * PATIENCE:
        return False
    means = np.array([[trace.losses.mean() for trace in piece] for piece in pieces])
    before, after = means[-2 * PATIENCE : -PATIENCE].mean(0), means[-PATIENCE:].mean(0)
    return not bool((after < (1 - STILL) * before).any())


def scored(trainer: Trainer) -> tuple[list[float], list[float], list[bool]]:
    """Score, loss and whether the outputs are constant, per lane, in evaluation mode on the sample."""
    task, y = trainer.context.task, trainer.context.splits["train"].judged
    outputs = trainer.predict("train", whole=True)
    evaluation = task.evaluation
    name = evaluation.code.SCORE
    values = evaluation.metrics(evaluation.collect(outputs, y), y, [name, "loss"])
    flat = outputs.flatten(2)
    spread = (flat - flat[:, :1]).abs().amax((1, 2))
    constant = spread <= 1e-6 * flat.abs().amax((1, 2))
    score = [-loss for loss in values["loss"].tolist()] if name == "loss" else values[name].tolist()
    return score, values["loss"].tolist(), constant.tolist()


def equal_rows(trainer: Trainer, weights: dict[str, Tensor]) -> list[tuple[int, int]]:
    """Per lane, the number of weight tensors `[K, rows ≥ 2, …]` below the head whose rows are all equal, and of all of them.

    The head is excluded: it may be initialised to zero.
    """
    specs = trainer.layout.specs
    many = [t for name, t in weights.items() if t.ndim >= 3 and t.shape[1] > 1 and not specs[name].head]
    return [
        (sum(bool((tensor[lane] == tensor[lane, :1]).all()) for tensor in many), len(many))
        for lane in range(trainer.lanes)
    ]
