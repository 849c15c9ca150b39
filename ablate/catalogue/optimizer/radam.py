"""RAdam: Adam that leaves the second moment out until enough gradients were seen to estimate it.

    m ← β₁ m + (1 − β₁) g;   v ← β₂ v + (1 − β₂) g²;   m̂ = m / (1 − β₁ᵗ)
    ρ_∞ = 2 / (1 − β₂) − 1;  ρ_t = ρ_∞ − 2 t β₂ᵗ / (1 − β₂ᵗ)
    r = √( (ρ_t − 4)(ρ_t − 2) ρ_∞ / ((ρ_∞ − 4)(ρ_∞ − 2) ρ_t) )
    w ← w − lr · r · m̂ · √(1 − β₂ᵗ) / (√v + ε)     where ρ_t > 5
    w ← w − lr · m̂                                  else

Shapes: w, g, m, v are `[K, P]`; t, ρ, r and the settings are `[K]`. 1 − βᵗ is kept as a running mean of ones, as in
`adam`. A step that loss scaling skips does not count. With β₂ = 0.999 the first five steps are those of momentum.
Lineage: Liu et al. 2019, algorithm 2; `torch.optim.RAdam`, whose threshold is 5 (the paper's is 4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.averages import betas, moments, moments_
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors

THRESHOLD = 5.0
"""ρ_t above which the second moment is used."""


def rectification(c2: Tensor, t: Tensor, rest2: Tensor) -> tuple[Tensor, Tensor]:
    """(whether the second moment is used, r), both `[K, 1]`; c₂ = 1 − β₂ᵗ, t and 1 − β₂ are `[K, 1]`."""
    longest = 2 / rest2 - 1
    length = longest - 2 * t * (1 - c2) / c2
    ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return length > THRESHOLD, ratio.clamp(min=0).sqrt()


def state(weights: LaneTensors) -> dict[str, Tensor]:
    return {**moments(weights), "taken": weights.flat.new_zeros(weights.lanes, 1)}


def update(
    weights: LaneTensors, gradients: LaneTensors, state: dict[str, Tensor], p: Settings, step: Tensor
) -> Tensor:
    w, g = weights.flat, gradients.flat
    m, v, c = moments_(state, g, p)
    c1, c2 = torch.split(c, 1, dim=1)
    used, ratio = rectification(c2, state["taken"].add_(1), p.once(betas)[-1])
    adapted = v.sqrt().add_(p.like("eps", w)).reciprocal_().mul_(ratio * c2.sqrt())
    scale = torch.where(used, adapted, adapted.new_ones(()))
    return w - (m * scale).mul_(p.like("lr", w) / c1)


TRICK = Trick(
    name="radam",
    title="Rectified Adam",
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
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="makes warmup unnecessary: the first steps of Adam, whose adaptive rate has a large variance, are damped",
            source=Source(
                "On the Variance of the Adaptive Learning Rate and Beyond",
                "Liu, Jiang, He, Chen, Liu, Gao, Han",
                2019,
                "https://arxiv.org/abs/1908.03265",
            ),
            contested="Adam with an untuned linear warmup over 2 / (1 - beta2) steps does as well (Ma & Yarats 2019, 1910.04209)",
        ),
    ),
)
