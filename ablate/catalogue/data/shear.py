"""Random shear: every training image is slanted along one of its sides.

    x'(u) = x(S u),   S = [[1, s], [0, 1]] or [[1, 0], [s, 1]] with equal probability,   s uniform on −m … m

Shapes: x is `[K, B, C, H, W]`; s is `[K, B]`, redrawn for every example and step; m is `[K]`. s = 1 is 45 degrees. Values between
pixels are bilinear, zeros come in from outside (`seams/affine.py`).
Lineage: Simard, Steinkraus & Platt 2003 (affine distortions of MNIST).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.affine import linear_maps, warped
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings


def shears(slant: Tensor, upright: Tensor) -> Tensor:
    """Maps `[K, B, 2, 3]`: slants `[K, B]` along the columns where `upright` (bool `[K, B]`), else along the rows."""
    one, zero = torch.ones_like(slant), torch.zeros_like(slant)
    return linear_maps(one, torch.where(upright, zero, slant), torch.where(upright, slant, zero), one)


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    x = batch.x
    slant = (2 * draws.uniform("slant", x.shape[1]) - 1) * p.slant[:, None]
    upright = draws.uniform("axis", x.shape[1]) < 0.5
    return batch.replaced(x=warped(x, shears(slant, upright)).where(p.like("slant", x) > 0, x))


TRICK = Trick(
    name="shear",
    title="Random shear",
    seam="data",
    parameters=(
        Parameter(
            "slant",
            0.2,
            low=0.0,
            high=0.5,
            neutral=0.0,
            meaning="largest shift of a row, in its distance from the centre",
        ),
    ),
    applies_to=("image",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="MNIST: affine distortions took a perceptron's test error from 1.6 % to 1.1 %",
            source=Source(
                "Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis",
                "Simard, Steinkraus, Platt",
                2003,
                "https://doi.org/10.1109/ICDAR.2003.1227801",
            ),
        ),
    ),
)
