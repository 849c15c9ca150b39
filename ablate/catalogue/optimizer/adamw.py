"""AdamW: Adam whose weight decay acts on the weights themselves, not through the gradient.

    w ← w · (1 − lr · λ)
    m ← β₁ m + (1 − β₁) g;   c₁ ← β₁ c₁ + (1 − β₁)
    v ← β₂ v + (1 − β₂) g²;  c₂ ← β₂ c₂ + (1 − β₂)
    w ← w − lr · (m / c₁) / (√(v / c₂) + ε) = w − (lr √c₂ / c₁) · m / (√v + ε √c₂)

Shapes: w, g, m, v are `[K, P]`; c and the settings are `[K]`; all start at zero. c = 1 − βᵗ is the bias
correction, kept as the same average of ones (a power's rounding would depend on a lane's place in the group).
Decay is multiplied by the scheduled rate, as in torch; the paper multiplies it by the schedule alone. It
acts on every parameter.
Lineage: Loshchilov & Hutter 2017, algorithm 2; `torch.optim.AdamW`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.averages import moments, moments_
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def adamw_step(
    w: Tensor, m: Tensor, v: Tensor, c1: Tensor, root2: Tensor, lr: Tensor, eps: Tensor, decay: Tensor
) -> Tensor:
    """New w. w and the means m, v `[K, P]`; settings and corrections `[K, 1]`, of which `root2` is √c₂."""
    return (w * (1 - lr * decay)).sub_((m / v.sqrt().add_(eps * root2)).mul_(lr * root2 / c1))


def state(weights: LaneTensors) -> dict[str, Tensor]:
    return moments(weights)


def update(
    weights: LaneTensors, gradients: LaneTensors, state: dict[str, Tensor], p: Settings, step: Tensor
) -> Tensor:
    w, g = weights.flat, gradients.flat
    m, v, c = moments_(state, g, p)
    c1, c2 = torch.split(c, 1, dim=1)
    settings = (p.like(name, w) for name in ("lr", "eps", "decay"))
    return adamw_step(w, m, v, c1, c2.sqrt(), *settings)


TRICK = Trick(
    name="adamw",
    title="Adam with decoupled weight decay",
    seam="optimizer",
    slot="optimizer",
    parameters=(
        Parameter("lr", 0.001, low=1e-5, high=1.0, log=True, meaning="learning rate"),
        Parameter(
            "beta1", 0.9, low=0.0, high=0.99, most=0.99999, meaning="share of the old mean that is kept"
        ),
        Parameter(
            "beta2",
            0.999,
            low=0.9,
            high=0.9999,
            most=0.999999,
            meaning="share of the old mean square that is kept",
        ),
        Parameter("eps", 1e-8, low=1e-10, high=1e-3, log=True, meaning="keeps the divisor off zero"),
        Parameter("decay", 0.01, low=1e-4, high=1.0, log=True, meaning="share of a weight lost at rate 1"),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="generalises better than Adam with an L2 penalty; learning rate and decay tune apart",
            source=Source(
                "Decoupled Weight Decay Regularization",
                "Loshchilov, Hutter",
                2017,
                "https://arxiv.org/abs/1711.05101",
            ),
        ),
    ),
)
