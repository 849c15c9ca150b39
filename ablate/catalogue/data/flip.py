"""Random flips: a training image is mirrored with probability p.

    x'[c, i, j] = x[c, i, W − 1 − j] with probability p        axis = "horizontal" (left to right)
    x'[c, i, j] = x[c, H − 1 − i, j] with probability p        axis = "vertical" (top to bottom)

Shapes: x is `[K, B, C, H, W]`; p is `[K]`; one draw for every example and step. Only for images whose class survives it: digits
and letters do not.
Lineage: Krizhevsky et al. 2012 (section 4.1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings


def flipped(x: Tensor, chosen: Tensor, vertical: Tensor) -> Tensor:
    """`x` `[K, B, C, H, W]` with the examples `chosen` (bool `[K, B]`) mirrored; `vertical` bool `[K]`."""
    mirrored = torch.where(vertical.reshape(-1, 1, 1, 1, 1), x.flip(3), x.flip(4))
    return torch.where(chosen[:, :, None, None, None], mirrored, x)


def is_vertical(p: Settings) -> Tensor:
    """bool `[K]`: the lanes that flip vertically."""
    return torch.tensor([axis == "vertical" for axis in p.axis], device=p.on.device)


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    chosen = draws.bernoulli("flip", p.p, batch.x.shape[1])
    return batch.replaced(x=flipped(batch.x, chosen, p.once(is_vertical)))


TRICK = Trick(
    name="flip",
    title="Random flips",
    seam="data",
    parameters=(
        Parameter(
            "p", 0.5, low=0.0, high=0.5, neutral=0.0, most=1.0, meaning="probability to mirror an image"
        ),
        Parameter("axis", "horizontal", choices=("horizontal", "vertical"), meaning="what is exchanged"),
    ),
    applies_to=("image",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="less over-fitting: twice as many training images at no cost",
            source=Source(
                "ImageNet Classification with Deep Convolutional Neural Networks",
                "Krizhevsky, Sutskever, Hinton",
                2012,
                "https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks",
            ),
            contested="hurts where a mirrored image is another class or none (digits, letters)",
        ),
    ),
)
