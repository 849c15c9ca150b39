"""Exponential moving average: evaluation looks at an average of the weights of the latest steps.

    a_0 = w_0;   a_{t+1} = d_t · a_t + (1 − d_t) · w_{t+1},   d_t = min(decay, (1 + t) / (10 + t)),  t = 0, 1, …

Shapes: a, w are the flat `[K, P]`; decay is `[K]`. The average looks back over about 1 / (1 − decay) steps; its
decay is warmed up, so that the initial weights are soon forgotten. Training does not see the average. Only
parameters are averaged: the engine estimates the running statistics of batch normalisation again for the average, with
a pass over training examples (`lanes/running_statistics.py`). Decay 0 is the weights themselves.
Lineage: Polyak & Juditsky 1992 (averaging); the warm-up is that of TensorFlow's ExponentialMovingAverage.
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def warmed_decay(decay: Tensor, before: Tensor) -> Tensor:
    """min(decay, (1 + t) / (10 + t)) for `before` = t int64 `[K]`, the steps before this one; `[K]`."""
    t = before.to(decay.dtype)
    return decay.minimum((1 + t) / (10 + t))


def begin(weights: LaneTensors, p: Settings) -> dict[str, Tensor]:
    return {"average": weights.flat.clone()}


def average(state: dict[str, Tensor], weights: LaneTensors, steps: Tensor, p: Settings) -> None:
    before, share = state["average"], 1 - warmed_decay(p.decay, steps - 1)[:, None]
    state["average"] = before + share * (weights.flat - before)  # exact for constant weights


def averaged(state: dict[str, Tensor], weights: LaneTensors, p: Settings) -> LaneTensors:
    return weights.like(state["average"].where(p.like("decay", weights.flat) > 0, weights.flat))


TRICK = Trick(
    name="ema",
    title="Exponential moving average of the weights",
    seam="evaluation",
    parameters=(
        Parameter(
            "decay",
            0.99,
            low=0.0,
            high=0.999,
            neutral=0.0,
            most=0.99999,
            meaning="share of the average that a step keeps",
        ),
    ),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="better generalisation than the last weights, most of all while the learning rate is high",
            source=Source(
                "Exponential Moving Average of Weights in Deep Learning: Dynamics and Benefits",
                "Morales-Brotons, Vogels, Hendrikx",
                2024,
                "https://arxiv.org/abs/2411.18704",
            ),
            contested="with the learning rate decayed to zero the gain is small; running statistics must fit the average",
        ),
        Claim(
            metric="ece",
            direction="down",
            statement="better calibrated probabilities",
            source=Source(
                "Exponential Moving Average of Weights in Deep Learning: Dynamics and Benefits",
                "Morales-Brotons, Vogels, Hendrikx",
                2024,
                "https://arxiv.org/abs/2411.18704",
            ),
        ),
    ),
)
