"""Cutout: a square at a random place of every training image is set to zero.

    x'[c, i, j] = 0 where |i − i₀| and |j − j₀| are within half a square of side s, else x;   i₀, j₀ uniform over all pixels

Shapes: x is `[K, B, C, H, W]`; the centre is redrawn for every example and step; s = ⌈size · min(H, W)⌉ pixels, size is `[K]`. The square may
hang over the edge, so that part of the images stay nearly whole (the authors found that to matter). Zero is the mean of standardised images.
Lineage: DeVries & Taylor 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings


def covered(uniform: Tensor, side: Tensor, length: int) -> Tensor:
    """bool `[K, B, length]`: the pixels along one side that the square covers; `uniform` `[K, B]`, `side` `[K, 1]` in pixels."""
    centre = (uniform * length).floor()
    first = (centre - (side / 2).floor())[:, :, None]
    pixel = torch.arange(length, device=uniform.device)
    return (pixel >= first) & (pixel < first + side[:, :, None])


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    x = batch.x
    height, width = x.shape[3:]
    side = (p.size[:, None] * min(height, width) - 1e-3).ceil()  # the slack is for 0.1 · 30 = 3.0000001
    rows = covered(draws.uniform("row", x.shape[1]), side, height)
    columns = covered(draws.uniform("column", x.shape[1]), side, width)
    square = rows[:, :, None, :, None] & columns[:, :, None, None, :]
    return batch.replaced(x=torch.where(square, x.new_zeros(()), x))


TRICK = Trick(
    name="cutout",
    title="Cutout",
    seam="data",
    parameters=(
        Parameter(
            "size",
            0.3,
            low=0.0,
            high=0.7,
            neutral=0.0,
            most=1.0,
            meaning="side of the square, as a share of the image's",
        ),
    ),
    applies_to=("image",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="CIFAR-10 with flips and crops: test error from 3.87 % to 3.08 % (wide ResNet); the model must look at the whole object",
            source=Source(
                "Improved Regularization of Convolutional Neural Networks with Cutout",
                "DeVries, Taylor",
                2017,
                "https://arxiv.org/abs/1708.04552",
            ),
        ),
    ),
)
