"""Flooding: keeps the training loss at a level above zero, by climbing when it falls below.

    l' = |l − b| + b = l where l ≥ b, and 2b − l where l < b

Shapes: l, l' are `[K]`, the mean loss of each lane's batch (not of single examples: section 3.2 of the
paper); b is `[K]`, in the units of the loss (nats, or squared error). Written with the two cases, so that
above the level neither the loss nor its gradient is changed by a bit. b = 0 is the identity.
Lineage: Ishida et al. 2020 (2002.08709, equation 3).
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings


def flooded(loss: Tensor, level: Tensor) -> Tensor:
    """Mean losses `[K]`, levels `[K]` -> `[K]`; at level 0 the loss itself, whatever its sign."""
    below = (loss < level) & (level > 0)
    return (2 * level - loss).where(below, loss)


def mean_loss(mean: Tensor, p: Settings) -> Tensor:
    return flooded(mean, p.level)


TRICK = Trick(
    name="flooding",
    title="Flooding",
    seam="criterion",
    parameters=(
        Parameter(
            "level",
            0.02,
            low=0.0,
            high=0.5,
            neutral=0.0,
            meaning="training loss below which the gradient is turned round",
        ),
    ),
    claims=(
        Claim(
            metric="loss",
            direction="down",
            statement="a lower test loss: the weights drift on to flatter minima while the training loss stays up",
            source=Source(
                "Do We Need Zero Training Loss After Achieving Zero Training Error?",
                "Ishida, Yamane, Sakai, Niu, Sugiyama",
                2020,
                "https://arxiv.org/abs/2002.08709",
            ),
            contested="does nothing in a run whose training loss never falls to the level",
        ),
    ),
)
