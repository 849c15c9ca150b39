"""Schedule-Free AdamW: a constant rate, and an average of the iterates in place of a decaying schedule.

    y = (1 − β₁) z + β₁ x                   the gradient g is taken at y; evaluation looks at x
    v ← β₂ v + (1 − β₂) g²;   d = g / (√(v / (1 − β₂ᵗ)) + ε) + λ y;   z ← z − lr · d
    s ← s + lr²_max;   c = lr²_max / s;   x ← (1 − c) x + c z

Shapes: x, y, z, v, g are `[K, P]`; c, s and the settings are `[K]`; x = z = y at the start. lr_max is the largest rate so
far, so that steps of a warmup count for less. The weights that training sees are y; z is kept in the state, and x follows
from both. Running statistics of batch normalisation are estimated again for x (`lanes/running_statistics.py`). Decay acts at y, as in the authors' code.
Lineage: Defazio et al. 2024, section 4 and their code (facebookresearch/schedule_free, AdamWScheduleFree with r = 0).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.averages import running_mean_
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def averaged_point(y: Tensor, z: Tensor, beta1: Tensor) -> Tensor:
    """x from y = (1 − β₁) z + β₁ x; `[K, P]`, β₁ `[K, 1]` above zero."""
    return y + (z - y) * (1 - 1 / beta1)


def share_of_last(state: dict[str, Tensor], lr: Tensor) -> Tensor:
    """c `[K, 1]`, for rates `[K, 1]`; updates lr_max and s. Zero as long as every rate was zero."""
    largest = torch.maximum(state["largest"], lr)
    state["largest"].copy_(largest)
    weight = largest.square()
    total = state["total"].add_(weight)
    return torch.where(total > 0, weight / total, weight)


def state(weights: LaneTensors) -> dict[str, Tensor]:
    flat = weights.flat
    return {
        "z": flat.clone(),
        "square": flat.new_zeros(flat.shape),
        "correction": flat.new_zeros(weights.lanes, 1),
        "largest": flat.new_zeros(weights.lanes, 1),
        "total": flat.new_zeros(weights.lanes, 1),
    }


def update(
    weights: LaneTensors, gradients: LaneTensors, state: dict[str, Tensor], p: Settings, step: Tensor
) -> Tensor:
    y, g, z = weights.flat, gradients.flat, state["z"]
    lr, beta1, beta2 = (p.like(name, y) for name in ("lr", "beta1", "beta2"))
    v = running_mean_(state["square"], g * g, beta2, 1 - beta2)
    c2 = state["correction"].mul_(beta2).add_(1 - beta2)
    c = share_of_last(state, lr)
    d = (g / (v / c2).sqrt_().add_(p.like("eps", y))).add_(p.like("decay", y) * y)
    new = y + c * (z - y) + (lr * (beta1 * (1 - c) - 1)) * d
    z.sub_(lr * d)
    return new


def scored(weights: LaneTensors, state: dict[str, Tensor], p: Settings) -> Tensor:
    return averaged_point(weights.flat, state["z"], p.like("beta1", weights.flat))


TRICK = Trick(
    name="schedule_free_adamw",
    title="Schedule-Free AdamW",
    seam="optimizer",
    slot="optimizer",
    parameters=(
        Parameter("lr", 0.0025, low=1e-5, high=1.0, log=True, meaning="learning rate"),
        Parameter(
            "beta1",
            0.9,
            low=0.8,
            high=0.98,
            least=0.01,
            most=0.9999,
            meaning="share of the average in the point at which the gradient is taken",
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
    conflicts=("weight_decay", "schedule", "ema", "swa"),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="as good as or better than AdamW with a tuned schedule, at every time of the training, without knowing its length",
            source=Source(
                "The Road Less Scheduled",
                "Defazio, Yang, Mehta, Mishchenko, Khaled, Cutkosky",
                2024,
                "https://arxiv.org/abs/2405.15682",
            ),
            contested="a warmup is still needed, and beta1 matters more than in AdamW",
        ),
    ),
)
