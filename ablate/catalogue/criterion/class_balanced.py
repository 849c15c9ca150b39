"""Class-balanced weighting: an example counts for as much as its class has few effective examples.

    w_c = (1 − β) / (1 − β^{n_c}),  scaled so that Σ_c w_c = C;   l_i ← l_i · Σ_c t_ic w_c

Shapes: t is `[K, B, C]`; the weights of the losses are `[K, B]`; β is `[K]`; n_c, the training examples of class c, is
`[C]`. β = 0 weights all alike, β → 1 by the inverse of the class's count. A class without examples counts as one with one.
Lineage: Cui et al. 2019, equation 2 and section 3.3 (normalisation).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings


def class_weights(beta: Tensor, counts: Tensor) -> Tensor:
    """w `[K, C]`; β `[K]`, counts `[C]`. In float64, as 1 − βⁿ loses digits for small counts."""
    beta, counts = beta.double()[:, None], counts.double().clamp(min=1)
    weights = (1 - beta) / (1 - beta.pow(counts))
    return weights * (len(counts) / weights.sum(dim=1, keepdim=True))


def weights_of(p: Settings) -> Tensor:
    """`[K, C]` in the settings' precision."""
    counts = p.facts.class_counts
    assert counts is not None
    weights = class_weights(p.beta, counts).to(p.beta.dtype)
    return torch.where(p.beta[:, None] > 0, weights, weights.new_ones(()))


def example_weight(target: Tensor, p: Settings) -> Tensor:
    weights = p.once(weights_of)[:, None, :]
    return (target * weights).sum(dim=-1).where(p.beta[:, None] > 0, target.new_ones(()))


TRICK = Trick(
    name="class_balanced",
    title="Class-balanced weights",
    seam="criterion",
    parameters=(
        Parameter(
            "beta",
            0.999,
            low=0.0,
            high=0.9999,
            neutral=0.0,
            most=0.999999,
            meaning="from equal weights (0) towards inverse class counts (1)",
        ),
    ),
    applies_to=("classification", "imbalanced classes"),
    claims=(
        Claim(
            metric="balanced_accuracy",
            direction="up",
            statement="fewer errors on long-tailed data; between no weights and inverse counts, which over-weight the rarest classes",
            source=Source(
                "Class-Balanced Loss Based on Effective Number of Samples",
                "Cui, Jia, Lin, Song, Belongie",
                2019,
                "https://arxiv.org/abs/1901.05555",
            ),
            contested="weights from the first step on can hurt the features; later ones help more (Cao et al. 2019, 1906.07413)",
        ),
    ),
)
