"""LDAM: every class must win by a margin, and the rarer the class the larger the margin.

    z'_c = z_c − t_c Δ_c,    Δ_c = margin · (n_min / n_c)^{1/4}

Shapes: z, z', t are `[K, B, C]`; margin is `[K]`; n_c, the training examples of class c, is `[C]`, n_min the smallest of them.
The rarest class has the whole margin. Only the training loss sees z'. The authors normalise the head's weights and features
and scale the logits by 30; here the head is left alone, so the margin is in units of plain logits. Their deferred re-weighting
is not part of it (see `class_balanced`). A class without examples counts as one with one.
Lineage: Cao et al. 2019, equations 11 and 12 with C fixed by the largest margin.
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings


def margins(margin: Tensor, counts: Tensor) -> Tensor:
    """Δ `[K, C]`; margin `[K]`, counts `[C]`."""
    counts = counts.double().clamp(min=1)
    share = (counts.min() / counts).sqrt().sqrt()
    return margin[:, None] * share.to(margin.dtype)


def of_settings(p: Settings) -> Tensor:
    """`[K, 1, C]`."""
    assert p.facts.class_counts is not None
    return margins(p.margin, p.facts.class_counts)[:, None, :]


def logits(outputs: Tensor, target: Tensor, p: Settings) -> Tensor:
    return outputs - target * p.once(of_settings)


TRICK = Trick(
    name="ldam",
    title="Label-distribution-aware margins",
    seam="criterion",
    parameters=(
        Parameter(
            "margin", 0.5, low=0.0, high=5.0, neutral=0.0, meaning="margin of the rarest class, in logits"
        ),
    ),
    applies_to=("classification", "imbalanced classes"),
    claims=(
        Claim(
            metric="balanced_accuracy",
            direction="up",
            statement="higher accuracy on the tail's classes than cross-entropy, the more so with deferred re-weighting",
            source=Source(
                "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
                "Cao, Wei, Gaidon, Arechiga, Ma",
                2019,
                "https://arxiv.org/abs/1906.07413",
            ),
            contested="margins that grow as n^-1/4 are not consistent for the balanced error (Menon et al. 2020, 2007.07314)",
        ),
    ),
)
