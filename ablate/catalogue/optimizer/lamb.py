"""LAMB: Adam's direction, scaled layer by layer to the size of the layer's weights.

    r = m̂ / (√v̂ + ε) + λ w       m̂, v̂ as in Adam, with bias correction
    w ← w − lr · (‖w‖ / ‖r‖) · r   ‖·‖ over one tensor of one lane; the ratio is 1 where either norm is 0

Shapes: w, g, m, v, r are `[K, P]`; the norms are `[K, T]`, one for each of T tensors; the settings are `[K]`. The learning
rate is a layer's relative change in one step. λ is part of the direction, so it replaces `weight_decay`.
Lineage: You et al. 2019, algorithm 2 with φ(z) = z.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.averages import moments, moments_
from ablate.seams.by_tensor import scaled_by_tensor, tensor_norms
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def trust_ratio(of_weights: Tensor, of_direction: Tensor) -> Tensor:
    """‖w‖ / ‖r‖, or 1 where either is zero; both `[K, T]`."""
    both = (of_weights > 0) & (of_direction > 0)
    return torch.where(both, of_weights / of_direction, of_weights.new_ones(()))


def state(weights: LaneTensors) -> dict[str, Tensor]:
    return moments(weights)


def update(
    weights: LaneTensors, gradients: LaneTensors, state: dict[str, Tensor], p: Settings, step: Tensor
) -> Tensor:
    w, g = weights.flat, gradients.flat
    m, v, c = moments_(state, g, p)
    c1, c2 = torch.split(c, 1, dim=1)
    adam = (m / c1).div_((v / c2).sqrt_().add_(p.like("eps", w)))
    direction = weights.like(adam.add_(p.like("decay", w) * w))
    ratio = trust_ratio(tensor_norms(weights), tensor_norms(direction))
    return w - scaled_by_tensor(direction, ratio * p.like("lr", ratio)).flat


TRICK = Trick(
    name="lamb",
    title="LAMB (layer-wise adaptive rates)",
    seam="optimizer",
    slot="optimizer",
    parameters=(
        Parameter(
            "lr", 0.01, low=1e-4, high=1.0, log=True, meaning="relative change of a layer's weights in a step"
        ),
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
        Parameter("eps", 1e-6, low=1e-10, high=1e-3, log=True, meaning="keeps the divisor off zero"),
        Parameter(
            "decay", 0.01, low=1e-4, high=1.0, log=True, meaning="share of the weights in the direction"
        ),
    ),
    conflicts=("weight_decay",),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="very large batches train as well as small ones: BERT at a batch of 32,768 with no loss",
            source=Source(
                "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes",
                "You, Li, Reddi, Hseu, Kumar, Bhojanapalli, Song, Demmel, Keutzer, Hsieh",
                2019,
                "https://arxiv.org/abs/1904.00962",
            ),
            contested="with equal tuning Adam and Nesterov momentum do as well at these batch sizes (Nado et al. 2021, 2102.06356)",
        ),
    ),
)
