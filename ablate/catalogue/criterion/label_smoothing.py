"""Label smoothing: a little of every target's probability is spread evenly over all classes.

    t' = (1 − ε) · t + ε / C

Shapes: t, t' are `[K, B, C]`, C the number of classes; ε is `[K]`. A soft target (of mixup) is smoothed as it
is, so the two compose. The validation loss is measured with the plain targets.
Lineage: Szegedy et al. 2015 (1512.00567, section 7); Müller et al. 2019 (1906.02629) on calibration.
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings


def shares(p: Settings, classes: int) -> tuple[Tensor, Tensor]:
    """(1 − ε, ε / C), both `[K, 1, 1]`."""
    eps: Tensor = p.eps[:, None, None]
    return 1 - eps, eps / classes


def target(target: Tensor, p: Settings) -> Tensor:
    kept, spread = p.once(shares, target.shape[-1])
    return (kept * target).add_(spread)


TRICK = Trick(
    name="label_smoothing",
    title="Label smoothing",
    seam="criterion",
    parameters=(
        Parameter(
            "eps",
            0.1,
            low=0.0,
            high=0.3,
            neutral=0.0,
            most=1.0,
            meaning="probability that is spread over all classes",
        ),
    ),
    applies_to=("classification",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="the largest logit no longer runs away from the others, and the model generalises better",
            source=Source(
                "Rethinking the Inception Architecture for Computer Vision",
                "Szegedy, Vanhoucke, Ioffe, Shlens, Wojna",
                2015,
                "https://arxiv.org/abs/1512.00567",
            ),
        ),
        Claim(
            metric="ece",
            direction="down",
            statement="probabilities are better calibrated, without temperature scaling",
            source=Source(
                "When Does Label Smoothing Help?",
                "Müller, Kornblith, Hinton",
                2019,
                "https://arxiv.org/abs/1906.02629",
            ),
            contested="a model that is not over-confident to begin with becomes under-confident, and its ECE rises",
        ),
    ),
)
