"""Adam: a running mean of the gradient over the root of a running mean of its square.

    m ← β₁ m + (1 − β₁) g;   c₁ ← β₁ c₁ + (1 − β₁)
    v ← β₂ v + (1 − β₂) g²;  c₂ ← β₂ c₂ + (1 − β₂)
    w ← w − lr · (m / c₁) / (√(v / c₂) + ε) = w − (lr √c₂ / c₁) · m / (√v + ε √c₂)

Shapes: w, g, m, v are `[K, P]`; c and the settings are `[K]`; all start at zero. c is the same average taken
of ones, and so is 1 − βᵗ: the paper's bias correction, without a power, whose rounding would depend on a
lane's place in the group. A step that loss scaling skips does not count. Without bias correction c = 1.
Lineage: Kingma & Ba 2014, algorithm 1; `torch.optim.Adam`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.averages import moments, moments_
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def adam_step(w: Tensor, m: Tensor, v: Tensor, c1: Tensor, root2: Tensor, lr: Tensor, eps: Tensor) -> Tensor:
    """New w. w and the means m, v `[K, P]`; settings and corrections `[K, 1]`, of which `root2` is √c₂."""
    return w - (m / v.sqrt().add_(eps * root2)).mul_(lr * root2 / c1)


def all_corrected(p: Settings) -> bool:
    """Whether every lane corrects the bias."""
    return bool(p.bias_correction.all())


def state(weights: LaneTensors) -> dict[str, Tensor]:
    return moments(weights)


def update(
    weights: LaneTensors, gradients: LaneTensors, state: dict[str, Tensor], p: Settings, step: Tensor
) -> Tensor:
    w, g = weights.flat, gradients.flat
    m, v, c = moments_(state, g, p)
    if not p.once(all_corrected):
        c = c.where(p.like("bias_correction", c), c.new_ones(()))
    c1, c2 = torch.split(c, 1, dim=1)
    return adam_step(w, m, v, c1, c2.sqrt(), p.like("lr", w), p.like("eps", w))


TRICK = Trick(
    name="adam",
    title="Adam",
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
        Parameter("bias_correction", True, meaning="correct means for their start at zero"),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="fast with little tuning; without bias correction the first steps are far too long",
            source=Source(
                "Adam: A Method for Stochastic Optimization",
                "Kingma, Ba",
                2014,
                "https://arxiv.org/abs/1412.6980",
            ),
            contested="may end at a worse test error than SGD (Wilson et al. 2017, 1705.08292); tuned with "
            "equal care it does not (Choi et al. 2019, 1910.05446)",
        ),
    ),
)
