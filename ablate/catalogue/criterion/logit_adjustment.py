"""Logit adjustment: the log of each class's prior is added to its logit in training, and left out in evaluation.

    z'_c = z_c + τ log π_c,    π_c = n_c / N

Shapes: z, z' are `[K, B, C]`; τ is `[K]`; n_c, the training examples of class c, is `[C]`. Only the training loss sees z', so
rare classes need a larger logit to be learned, and the model's own logits are then balanced. A class without examples counts as
one with one.
Lineage: Menon et al. 2020, equation 10 (the logit-adjusted softmax cross-entropy); τ = 1 is Fisher-consistent for the balanced error.
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings


def adjustment(tau: Tensor, counts: Tensor) -> Tensor:
    """τ log π, `[K, C]`; τ `[K]`, counts `[C]`."""
    prior = counts.double() / counts.double().sum()
    prior = prior.clamp(min=1 / float(counts.double().sum()))
    return tau[:, None] * prior.log().to(tau.dtype)


def offsets(p: Settings) -> Tensor:
    """`[K, 1, C]`."""
    assert p.facts.class_counts is not None
    return adjustment(p.tau, p.facts.class_counts)[:, None, :]


def logits(outputs: Tensor, target: Tensor, p: Settings) -> Tensor:
    return outputs + p.once(offsets)


TRICK = Trick(
    name="logit_adjustment",
    title="Logit adjustment",
    seam="criterion",
    parameters=(Parameter("tau", 1.0, low=0.0, high=2.0, neutral=0.0, meaning="strength of the adjustment"),),
    applies_to=("classification", "imbalanced classes"),
    claims=(
        Claim(
            metric="balanced_accuracy",
            direction="up",
            statement="lower balanced error on long tails than weighting or margins, with a guarantee of consistency",
            source=Source(
                "Long-tail learning via logit adjustment",
                "Menon, Jayasumana, Rawat, Jain, Veit, Kumar",
                2020,
                "https://arxiv.org/abs/2007.07314",
            ),
            contested="plain accuracy on data as unbalanced as the training set falls",
        ),
    ),
)
