"""Weight decay around any optimizer: through the gradient (L2) or on the weights themselves (decoupled).

    l2:         g ← g + λ w               before the rule, which may rescale it
    decoupled:  w ← w · (1 − lr · λ)      outside the rule, with the scheduled rate

Shapes: w, g are `[K, P]`; lr, λ are `[K]`. For plain SGD the two are one; for adaptive rules they are not. It
acts on every parameter, as `weight_decay` in torch does. Clipping, where on, has already been done.
Lineage: Krogh & Hertz 1991; Loshchilov & Hutter 2017 (decoupled); `weight_decay` of `torch.optim`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def l2(w: Tensor, g: Tensor, rate: Tensor) -> Tensor:
    """g + λ w, all `[K, P]`, rate `[K, 1]`."""
    return (rate * w).add_(g)


def decoupled(w: Tensor, lr: Tensor, rate: Tensor) -> Tensor:
    """w · (1 − lr λ), w `[K, P]`, settings `[K, 1]`."""
    return w * (1 - lr * rate)


def rates(p: Settings) -> tuple[Tensor, Tensor]:
    """(λ of the lanes with L2 in the gradient, λ of those with decoupled decay), both `[K, 1]`, elsewhere zero."""
    apart = torch.tensor([[mode == "decoupled"] for mode in p.mode], device=p.on.device)
    decay, zero = p.decay[:, None], p.decay.new_zeros(())
    return zero.where(apart, decay), decay.where(apart, zero)


def decay(
    weights: LaneTensors, gradients: LaneTensors, lr: Tensor, p: Settings
) -> tuple[LaneTensors, LaneTensors]:
    through, decoupled_rate = p.once(rates)
    w, g = weights.flat, gradients.flat
    return weights.like(decoupled(w, lr[:, None], decoupled_rate)), gradients.like(l2(w, g, through))


TRICK = Trick(
    name="weight_decay",
    title="Weight decay",
    seam="optimizer",
    parameters=(
        Parameter("decay", 5e-4, low=1e-6, high=1e-1, log=True, neutral=0.0, meaning="strength"),
        Parameter(
            "mode", "l2", choices=("l2", "decoupled"), meaning="added to the gradient, or decoupled from it"
        ),
    ),
    conflicts=("adamw",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="suppresses irrelevant components of the weights and some of the noise in the targets",
            source=Source(
                "A Simple Weight Decay Can Improve Generalization",
                "Krogh, Hertz",
                1991,
                "https://papers.nips.cc/paper/1991/hash/8eefcfdf5990e441f0fb6f3fad709e21-Abstract.html",
            ),
        ),
        Claim(
            metric="accuracy",
            direction="up",
            statement="decoupled from the gradient it regularises adaptive methods as it does SGD",
            source=Source(
                "Decoupled Weight Decay Regularization",
                "Loshchilov, Hutter",
                2017,
                "https://arxiv.org/abs/1711.05101",
            ),
        ),
    ),
)
