"""NAdam: Adam with Nesterov's look-ahead in place of plain momentum.

    μ_t = β₁ (1 − ½ · 0.96^{ψ t}),  ψ = 0.004;   M_t = μ_1 μ_2 … μ_t
    m ← β₁ m + (1 − β₁) g;   v ← β₂ v + (1 − β₂) g²;   v̂ = v / (1 − β₂ᵗ)
    w ← w − lr · ( (1 − μ_t) / (1 − M_t) · g  +  μ_{t+1} / (1 − M_{t+1}) · m ) / (√v̂ + ε)

Shapes: w, g, m, v are `[K, P]`; μ, M and the settings are `[K]`. M_t and 0.96^{ψ t} are kept as running products and
1 − β₂ᵗ as a running mean of ones: a power's rounding would depend on a lane's place in the group. A step that loss
scaling skips does not count.
Lineage: Dozat 2016; `torch.optim.NAdam`, with its momentum schedule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.averages import betas, running_mean_
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors

STEP = 0.96**0.004
"""0.96^ψ: what 0.96^{ψ t} is multiplied with at each step."""


def momenta(decay: Tensor, product: Tensor, beta1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(M_t, share of g, share of m) before the division by √v̂, from 0.96^{ψ t} and M_{t−1}, all `[K, 1]`."""
    now, ahead = beta1 * (1 - 0.5 * decay), beta1 * (1 - 0.5 * STEP * decay)
    product = product * now
    return product, (1 - now) / (1 - product), ahead / (1 - product * ahead)


def state(weights: LaneTensors) -> dict[str, Tensor]:
    flat = weights.flat
    return {
        "mean": flat.new_zeros(flat.shape),
        "square": flat.new_zeros(flat.shape),
        "correction": flat.new_zeros(weights.lanes, 1),
        "decay": flat.new_ones(weights.lanes, 1),
        "product": flat.new_ones(weights.lanes, 1),
    }


def update(
    weights: LaneTensors, gradients: LaneTensors, state: dict[str, Tensor], p: Settings, step: Tensor
) -> Tensor:
    w, g = weights.flat, gradients.flat
    _, _, beta1, beta2, rest1, rest2 = p.once(betas)
    m = running_mean_(state["mean"], g, beta1, rest1)
    v = running_mean_(state["square"], g * g, beta2, rest2)
    c2 = state["correction"].mul_(beta2).add_(rest2)
    product, of_g, of_m = momenta(state["decay"].mul_(STEP), state["product"], beta1)
    state["product"].copy_(product)
    lr = p.like("lr", w)
    return w - torch.div((lr * of_g) * g + (lr * of_m) * m, (v / c2).sqrt_().add_(p.like("eps", w)))


TRICK = Trick(
    name="nadam",
    title="Adam with Nesterov momentum",
    seam="optimizer",
    slot="optimizer",
    parameters=(
        Parameter("lr", 0.002, low=1e-5, high=1.0, log=True, meaning="learning rate"),
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
            metric="steps_to_target",
            direction="down",
            statement="converges faster than Adam, at no further cost",
            source=Source(
                "Incorporating Nesterov Momentum into Adam",
                "Dozat",
                2016,
                "https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ",
            ),
            contested="where every setting is tuned, within noise of Adam (Schmidt et al. 2020, 2007.01547)",
        ),
    ),
)
