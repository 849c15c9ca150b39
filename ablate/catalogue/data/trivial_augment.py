"""TrivialAugment: every training image gets one change, of a random kind and a random strength; nothing is tuned.

    kinds: none, shear in x or y, shift in x or y, rotation, brightness, contrast;    strength uniform on −m … m

Shapes: x is `[K, B, C, H, W]`; kind and strength are `[K, B]`, redrawn for every example and step; m is `[K]`, 1 for the paper's wide
ranges: slants up to 0.99, shifts up to a third of the side, 135 degrees, contrast and brightness nearly away. The paper's
posterise, solarise, sharpness, equalise and auto-contrast need pixels between 0 and 1, which standardised inputs are not; they are left out.
Lineage: Müller & Hutter 2021, algorithm 1 with the geometric and linear part of its wide space.
"""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.affine import linear_maps, warped
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings

KINDS = ("none", "shear x", "shear y", "shift x", "shift y", "rotate", "brightness", "contrast")
SLANT, SHIFT, ANGLE, TONE = 0.99, 2 / 3, 0.75 * pi, 0.99
"""The largest change of each kind; a shift of 2 is the whole side."""


def maps_of(kind: Tensor, strength: Tensor) -> Tensor:
    """Affine maps `[K, B, 2, 3]`; the identity for kinds that are none. `kind` int64 `[K, B]`, strength `[K, B]` in −1 … 1."""
    strengths = {name: torch.where(kind == index, strength, 0.0) for index, name in enumerate(KINDS)}
    angle = ANGLE * strengths["rotate"]
    cosine, sine = angle.cos(), angle.sin()
    maps = linear_maps(
        cosine, SLANT * strengths["shear x"] - sine, SLANT * strengths["shear y"] + sine, cosine
    )
    maps[..., 0, 2], maps[..., 1, 2] = SHIFT * strengths["shift x"], SHIFT * strengths["shift y"]
    return maps


def toned(x: Tensor, kind: Tensor, strength: Tensor) -> Tensor:
    """Brightness (a shift by deviations of the image) or contrast (about its mean). x `[K, B, C, H, W]`."""
    change = (TONE * strength)[:, :, None, None, None]
    mean = x.mean((2, 3, 4), keepdim=True)
    spread = (x - mean).square().mean((2, 3, 4), keepdim=True).sqrt()
    which = kind[:, :, None, None, None]
    x = torch.where(which == KINDS.index("brightness"), x + change * spread, x)
    return torch.where(which == KINDS.index("contrast"), mean + (1 + change) * (x - mean), x)


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    x = batch.x
    kind = (draws.uniform("kind", x.shape[1]) * len(KINDS)).floor().to(torch.int64)
    strength = (2 * draws.uniform("strength", x.shape[1]) - 1) * p.strength[:, None]
    changed = toned(warped(x, maps_of(kind, strength)), kind, strength)
    acts = (p.strength[:, None] > 0) & (kind > 0)
    return batch.replaced(x=torch.where(acts[:, :, None, None, None], changed, x))


TRICK = Trick(
    name="trivial_augment",
    title="TrivialAugment",
    seam="data",
    parameters=(
        Parameter(
            "strength",
            0.5,
            low=0.0,
            high=1.0,
            neutral=0.0,
            most=1.0,
            meaning="largest change, 1 for the paper's wide ranges",
        ),
    ),
    applies_to=("image",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="as good as augmentation policies that were searched for, with nothing to tune",
            source=Source(
                "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation",
                "Müller, Hutter",
                2021,
                "https://arxiv.org/abs/2103.10158",
            ),
            contested="made for natural images: a strong rotation or shear of a digit is another sign",
        ),
    ),
)
