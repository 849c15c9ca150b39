"""Lion: every weight moves by exactly the learning rate, in the direction of the sign of a momentum.

    u = sign(β₁ m + (1 − β₁) g);   w ← w − lr · u;   m ← β₂ m + (1 − β₂) g

Shapes: w, g, m, u are `[K, P]`; the settings are `[K]`. One state tensor, half of Adam's. Steps do not shrink with the
gradient, so the rate is three to ten times smaller than Adam's; the authors pair it with a decoupled decay that
is as many times larger (`weight_decay` with mode "decoupled").
Lineage: Chen et al. 2023, algorithm 2.
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.averages import betas, running_mean_
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def lion_direction(g: Tensor, m: Tensor, beta1: Tensor, rest1: Tensor) -> Tensor:
    """sign(β₁ m + (1 − β₁) g), `[K, P]`; settings `[K, 1]`."""
    return (beta1 * m).add_(rest1 * g).sign_()


def state(weights: LaneTensors) -> dict[str, Tensor]:
    return {"mean": weights.flat.new_zeros(weights.flat.shape)}


def update(
    weights: LaneTensors, gradients: LaneTensors, state: dict[str, Tensor], p: Settings, step: Tensor
) -> Tensor:
    w, g = weights.flat, gradients.flat
    _, _, beta1, beta2, rest1, rest2 = p.once(betas)
    direction = lion_direction(g, state["mean"], beta1, rest1)
    running_mean_(state["mean"], g, beta2, rest2)
    return w - direction.mul_(p.like("lr", w))


TRICK = Trick(
    name="lion",
    title="Lion (sign of a momentum)",
    seam="optimizer",
    slot="optimizer",
    parameters=(
        Parameter("lr", 3e-4, low=1e-6, high=0.1, log=True, meaning="learning rate"),
        Parameter(
            "beta1", 0.9, low=0.0, high=0.99, most=0.99999, meaning="share of the mean in the direction"
        ),
        Parameter(
            "beta2", 0.99, low=0.9, high=0.999, most=0.99999, meaning="share of the old mean that is kept"
        ),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="better than AdamW in image classification, the more so the larger the batch; found by program search",
            source=Source(
                "Symbolic Discovery of Optimization Algorithms",
                "Chen, Liang, Huang, Real, Wang, Liu, Pham, Dong, Luong, Hsieh, Lu, Le",
                2023,
                "https://arxiv.org/abs/2302.06675",
            ),
            contested="the paper itself finds no gain at batches below 64 or with strong augmentation",
        ),
        Claim(
            metric="memory",
            direction="down",
            statement="one state tensor in place of Adam's two",
            source=Source(
                "Symbolic Discovery of Optimization Algorithms",
                "Chen, Liang, Huang, Real, Wang, Liu, Pham, Dong, Luong, Hsieh, Lu, Le",
                2023,
                "https://arxiv.org/abs/2302.06675",
            ),
        ),
    ),
)
