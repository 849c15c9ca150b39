"""Random resized crop: a random part of every training image is scaled up to the whole image.

    x'(u) = x(s u + o),   s² uniform on 1 − m … 1,   o uniform on −(1 − s) … 1 − s for each side

Shapes: x is `[K, B, C, H, W]`; s and o (in halves of a side) are `[K, B]`, redrawn for every example and step; m, the largest share of the
area that is cut off, is `[K]`. The proportions are kept (`stretch` changes those). Values between pixels are bilinear.
Lineage: Szegedy et al. 2014 (1409.4842, section 6), where m is 0.92.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.affine import linear_maps, warped
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings


def crops(side: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Maps `[K, B, 2, 3]`: `side` is s, `right` and `down` are o; all `[K, B]`."""
    zero = torch.zeros_like(side)
    maps = linear_maps(side, zero, zero, side)
    maps[..., 0, 2], maps[..., 1, 2] = right, down
    return maps


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    x = batch.x
    side = (1 - draws.uniform("area", x.shape[1]) * p.cut[:, None]).sqrt()
    right, down = ((2 * draws.uniform(axis, x.shape[1]) - 1) * (1 - side) for axis in ("right", "down"))
    return batch.replaced(x=warped(x, crops(side, right, down)).where(p.like("cut", x) > 0, x))


TRICK = Trick(
    name="crop_and_scale",
    title="Random resized crop",
    seam="data",
    parameters=(
        Parameter(
            "cut",
            0.3,
            low=0.0,
            high=0.9,
            neutral=0.0,
            most=0.99,
            meaning="largest share of the area that is cut off",
        ),
    ),
    applies_to=("image",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="parts of many sizes, spread over the image, worked best in the classifier that won ImageNet 2014",
            source=Source(
                "Going Deeper with Convolutions",
                "Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich",
                2014,
                "https://arxiv.org/abs/1409.4842",
            ),
            contested="objects look larger in training than in evaluation (Touvron et al. 2019, 1906.06423)",
        ),
    ),
)
