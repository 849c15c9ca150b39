"""Random erasing: with probability p, a rectangle of random size, shape and place is overwritten with noise.

    area = H W · uniform(0.02, max_area),  log of height / width uniform on −log 3.3 … log 3.3;   x' = noise inside

Shapes: x is `[K, B, C, H, W]`; everything is redrawn for every example and step; p and max_area are `[K]`. Noise is standard normal, the
scale of standardised inputs. Sides are rounded to whole pixels, one at least, and cut to the image's (the paper draws again instead).
Lineage: Zhong et al. 2017, algorithm 1.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings

LEAST_AREA, ASPECT = 0.02, 3.3


def span(length: Tensor, draw: Tensor, side: int) -> Tensor:
    """bool `[K, B, side]`: `length` pixels (`[K, B]`) that start at a uniform position."""
    length = length.round().clamp(1, side)
    first = (draw * (side - length + 1)).floor()
    pixel = torch.arange(side, device=draw.device)
    return (pixel >= first[:, :, None]) & (pixel < (first + length)[:, :, None])


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    x = batch.x
    examples, (height, width) = x.shape[1], x.shape[3:]
    largest = p.max_area[:, None].clamp(min=LEAST_AREA)
    area = (LEAST_AREA + draws.uniform("area", examples) * (largest - LEAST_AREA)) * (height * width)
    root = ((2 * draws.uniform("aspect", examples) - 1) * (log(ASPECT) / 2)).exp()  # of height / width
    rows = span(area.sqrt() * root, draws.uniform("row", examples), height)
    columns = span(area.sqrt() / root, draws.uniform("column", examples), width)
    chosen = draws.bernoulli("erase", p.p, examples)[:, :, None, None, None]
    rectangle = rows[:, :, None, :, None] & columns[:, :, None, None, :] & chosen
    return batch.replaced(x=torch.where(rectangle, draws.normal("noise", *x.shape[1:]).to(x.dtype), x))


TRICK = Trick(
    name="random_erasing",
    title="Random erasing",
    seam="data",
    parameters=(
        Parameter("p", 0.5, low=0.0, high=1.0, neutral=0.0, most=1.0, meaning="probability to erase"),
        Parameter(
            "max_area",
            0.3,
            low=0.05,
            high=0.5,
            most=1.0,
            meaning="largest rectangle, as a share of the image",
        ),
    ),
    applies_to=("image",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="less over-fitting and more robust to occlusion; complementary to crops and flips",
            source=Source(
                "Random Erasing Data Augmentation",
                "Zhong, Zheng, Kang, Li, Yang",
                2017,
                "https://arxiv.org/abs/1708.04896",
            ),
        ),
    ),
)
