"""Translation: every training image is shifted by a random number of whole pixels; what comes in is zero.

    x'[c, i, j] = x[c, i − dy, j − dx], zero outside;   dy uniform on −m_H … m_H,  m_H = ⌈f · H⌉;  dx likewise

Shapes: x is `[K, B, C, H, W]`; dy, dx are `[K, B]`, redrawn for every example and step; f is `[K]`. Whole
pixels keep the values unchanged; the limit is rounded up, so that a positive fraction always does something,
however small the image. Zero is the mean where the images are standardised.
Lineage: LeCun et al. 1998; Krizhevsky et al. 2012 (section 4.1, as random crops).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings


def drawn_shift(uniform: Tensor, fraction: Tensor, side: int) -> Tensor:
    """int64 `[K, B]`, uniform on −m … m with m = ⌈fraction · side⌉. `uniform` `[K, B]`, fraction `[K, 1]`."""
    most = (fraction * side - 1e-3).ceil()  # the slack is for 0.1 · 30 = 3.0000001
    return (uniform * (2 * most + 1)).floor().to(torch.int64) - most.to(torch.int64)


def shifted(x: Tensor, shift: Tensor, dim: int) -> Tensor:
    """`x` `[K, B, C, H, W]` moved along dimension `dim` (3 or 4) by `shift` int64 `[K, B]`, zeros coming in."""
    side = x.shape[dim]
    shape = [*shift.shape, *[1] * (x.ndim - 2)]
    along = [1] * x.ndim
    along[dim] = side
    source = torch.arange(side, device=x.device).reshape(along) - shift.reshape(shape)
    inside = (source >= 0) & (source < side)
    moved = torch.take_along_dim(x, source.clamp(0, side - 1), dim)
    return moved.where(inside, torch.zeros((), dtype=x.dtype, device=x.device))


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    x = batch.x
    fraction, (height, width) = p.fraction[:, None], x.shape[3:]
    dy = drawn_shift(draws.uniform("dy", x.shape[1]), fraction, height)
    dx = drawn_shift(draws.uniform("dx", x.shape[1]), fraction, width)
    return batch.replaced(x=shifted(shifted(x, dy, 3), dx, 4))


TRICK = Trick(
    name="translate",
    title="Random translation",
    seam="data",
    parameters=(
        Parameter(
            "fraction",
            0.1,
            low=0.0,
            high=0.3,
            neutral=0.0,
            most=1.0,
            meaning="largest shift, as a share of each side",
        ),
    ),
    applies_to=("image",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="less over-fitting: a network without shifted images over-fits substantially",
            source=Source(
                "ImageNet Classification with Deep Convolutional Neural Networks",
                "Krizhevsky, Sutskever, Hinton",
                2012,
                "https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks",
            ),
        ),
    ),
)
