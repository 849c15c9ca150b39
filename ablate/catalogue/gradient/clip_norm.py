"""Gradient clipping by the global norm: a gradient that is too long is shortened, its direction kept.

    g ← g · min(1, c / (‖g‖ + 10⁻⁶))

Shapes: g is `[K, P]`, ‖g‖ (over all parameters of a lane) and c are `[K]`.
Lineage: Pascanu, Mikolov & Bengio 2012, algorithm 1; `torch.nn.utils.clip_grad_norm_`.
"""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def clip_coefficient(norm: Tensor, max_norm: Tensor) -> Tensor:
    """What the gradient is multiplied with, `[K]`; exactly 1 where `max_norm` is infinite, whatever the norm."""
    return torch.fmin(max_norm / (norm + 1e-6), norm.new_ones(()))  # fmin maps ∞ / ∞, which is NaN, to 1


def gradient(gradients: LaneTensors, weights: LaneTensors, p: Settings) -> LaneTensors:
    coefficient = clip_coefficient(gradients.norm(), p.max_norm)
    return gradients.like(gradients.flat * coefficient.unsqueeze(1))


TRICK = Trick(
    name="clip_norm",
    title="Gradient clipping by norm",
    seam="gradient",
    parameters=(
        Parameter(
            "max_norm", 1.0, low=0.01, high=100.0, log=True, neutral=inf, meaning="longest gradient allowed"
        ),
    ),
    claims=(
        Claim(
            metric="loss",
            direction="down",
            statement="no explosions: a step off a cliff of the loss stays short",
            source=Source(
                "On the difficulty of training Recurrent Neural Networks",
                "Pascanu, Mikolov, Bengio",
                2012,
                "https://arxiv.org/abs/1211.5063",
            ),
        ),
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="faster where the curvature grows with the gradient: larger rates are safe",
            source=Source(
                "Why gradient clipping accelerates training: A theoretical justification for adaptivity",
                "Zhang, He, Sra, Jadbabaie",
                2019,
                "https://arxiv.org/abs/1905.11881",
            ),
        ),
    ),
)
