"""Stochastic weight averaging: evaluation looks at the plain mean of the weights at the ends of the last epochs.

    n ← n + 1;  a ← a + (w − a) / n     at the end of every epoch after the first share `start` of the training

Shapes: a, w are the flat `[K, P]`; n, start are `[K]`. Training does not see the average, and before the first epoch that counts evaluation
looks at the weights themselves. start = 1 never averages. Only parameters are averaged: the engine estimates the running statistics of batch normalisation again
for the average, with a pass over training examples, as the authors do (`lanes/running_statistics.py`). They keep the rate
constant or cyclic while averaging; under a schedule that decays to zero the last weights differ little and there is little to gain.
Lineage: Izmailov et al. 2018, algorithm 1 with one cycle an epoch; `torch.optim.swa_utils`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def counts_now(steps: Tensor, start: Tensor, total: int, per_epoch: int) -> Tensor:
    """bool `[K]`: whether the weights after `steps` steps (int64 `[K]`) are the end of an epoch that counts."""
    return (steps % per_epoch == 0) & (steps.to(start.dtype) > start * total)


def begin(weights: LaneTensors, p: Settings) -> dict[str, Tensor]:
    return {"mean": weights.flat.clone(), "number": weights.flat.new_zeros(weights.lanes)}


def average(state: dict[str, Tensor], weights: LaneTensors, steps: Tensor, p: Settings) -> None:
    taken = counts_now(steps, p.start, p.facts.total_steps, p.facts.steps_per_epoch)
    number = state["number"] + taken.to(p.start.dtype)
    mean, w = state["mean"], weights.flat
    moved = mean + (w - mean) / number.clamp(min=1)[:, None]
    state["mean"] = torch.where(taken[:, None], moved, mean)
    state["number"] = number


def averaged(state: dict[str, Tensor], weights: LaneTensors, p: Settings) -> LaneTensors:
    return weights.like(torch.where(state["number"][:, None] > 0, state["mean"], weights.flat))


TRICK = Trick(
    name="swa",
    title="Stochastic weight averaging",
    seam="evaluation",
    parameters=(
        Parameter(
            "start",
            0.75,
            low=0.25,
            high=1.0,
            neutral=1.0,
            most=1.0,
            meaning="share of the training before averaging",
        ),
    ),
    conflicts=("ema",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="flatter solutions that generalise better than the last weights, at almost no cost",
            source=Source(
                "Averaging Weights Leads to Wider Optima and Better Generalization",
                "Izmailov, Podoprikhin, Garipov, Vetrov, Wilson",
                2018,
                "https://arxiv.org/abs/1803.05407",
            ),
            contested="with a rate that has decayed to zero there is little left to average",
        ),
    ),
)
