"""Colour jitter: every training image gets another brightness, contrast and (in colour) saturation.

    x ← x + b σ;   x ← μ + c (x − μ);   x ← grey + f (x − grey),     b uniform on −m … m;  c, f uniform on 1 − m … 1 + m

Shapes: x is `[K, B, C, H, W]`; b, c, f are `[K, B]`, redrawn for every example and step; m is `[K]`. μ and σ are the mean and the
deviation of the image itself, grey is the mean of its channels at each pixel (images of one channel have no saturation).
Written for standardised inputs: brightness is a shift in deviations, not a factor.
Lineage: Howard 2013 (1312.5402, section 2.2), with its three manipulations in one fixed order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings


def jittered(x: Tensor, shift: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """`x` `[K, B, C, H, W]`; b, c, f `[K, B]`."""
    shift, contrast, saturation = (value[:, :, None, None, None] for value in (shift, contrast, saturation))
    mean = x.mean((2, 3, 4), keepdim=True)
    spread = (x - mean).square().mean((2, 3, 4), keepdim=True).sqrt()
    x = mean + shift * spread + contrast * (x - mean)
    if x.shape[2] == 1:
        return x
    grey = x.mean(2, keepdim=True)
    return grey + saturation * (x - grey)


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    x, most = batch.x, p.strength[:, None]
    signed = [
        (2 * draws.uniform(what, x.shape[1]) - 1) * most for what in ("brightness", "contrast", "saturation")
    ]
    changed = jittered(x, signed[0], 1 + signed[1], 1 + signed[2])
    return batch.replaced(x=torch.where(p.like("strength", x) > 0, changed, x))


TRICK = Trick(
    name="color_jitter",
    title="Brightness, contrast and saturation",
    seam="data",
    parameters=(
        Parameter(
            "strength", 0.2, low=0.0, high=0.8, neutral=0.0, meaning="largest change of each, as a share"
        ),
    ),
    applies_to=("image",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="invariance to lighting: one of the changes that took the ImageNet top-5 error from 16.4 % to 13.6 %",
            source=Source(
                "Some Improvements on Deep Convolutional Neural Network Based Image Classification",
                "Howard",
                2013,
                "https://arxiv.org/abs/1312.5402",
            ),
        ),
    ),
)
