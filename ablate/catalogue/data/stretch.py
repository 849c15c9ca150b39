"""Random stretch: every training image is made wider or narrower, and higher or lower, about its centre.

    x'(u) = x(diag(1/f₁, 1/f₂) u),   log f uniform on −log(1 + m) … log(1 + m), one f for each side

Shapes: x is `[K, B, C, H, W]`; f is `[K, B]` for each side, redrawn for every example and step; m is `[K]`. Values between pixels are
bilinear, zeros come in from outside (`seams/affine.py`).
Lineage: Cireşan et al. 2012 (1202.2745: random scaling of width and height); Szegedy et al. 2014 (1409.4842: aspect ratios).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.affine import linear_maps, warped
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings


def stretches(width: Tensor, height: Tensor) -> Tensor:
    """Maps `[K, B, 2, 3]` for factors `[K, B]` of both sides."""
    zero = torch.zeros_like(width)
    return linear_maps(1 / width, zero, zero, 1 / height)


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    x, most = batch.x, p.most[:, None].log1p()
    width, height = (((2 * draws.uniform(side, x.shape[1]) - 1) * most).exp() for side in ("width", "height"))
    return batch.replaced(x=warped(x, stretches(width, height)).where(p.like("most", x) > 0, x))


TRICK = Trick(
    name="stretch",
    title="Random stretch",
    seam="data",
    parameters=(
        Parameter(
            "most", 0.15, low=0.0, high=0.5, neutral=0.0, meaning="largest change of a side, as a share of it"
        ),
    ),
    applies_to=("image",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="less over-fitting where objects appear at several sizes and proportions",
            source=Source(
                "Multi-column Deep Neural Networks for Image Classification",
                "Cireşan, Meier, Schmidhuber",
                2012,
                "https://arxiv.org/abs/1202.2745",
            ),
        ),
    ),
)
