"""Random rotation: every training image is turned about its centre by a random angle.

    x'(u) = x(R_θ u),   R_θ = [[cos θ, −sin θ], [sin θ, cos θ]],   θ uniform on −a … a

Shapes: x is `[K, B, C, H, W]`; θ is `[K, B]`, redrawn for every example and step; a (degrees) is `[K]`. Values between pixels are
bilinear, zeros come in from outside (`seams/affine.py`).
Lineage: Simard, Steinkraus & Platt 2003 (affine distortions of MNIST).
"""

from __future__ import annotations

from math import pi

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.affine import linear_maps, warped
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings


def rotations(angle: Tensor) -> Tensor:
    """Maps `[K, B, 2, 3]` for angles `[K, B]` in radians."""
    cosine, sine = angle.cos(), angle.sin()
    return linear_maps(cosine, -sine, sine, cosine)


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    x, most = batch.x, p.degrees[:, None]
    angle = (2 * draws.uniform("angle", x.shape[1]) - 1) * (most * (pi / 180))
    return batch.replaced(x=warped(x, rotations(angle)).where(p.like("degrees", x) > 0, x))


TRICK = Trick(
    name="rotate",
    title="Random rotation",
    seam="data",
    parameters=(
        Parameter(
            "degrees", 10.0, low=0.0, high=45.0, neutral=0.0, most=180.0, meaning="largest angle, either way"
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
            contested="angles at which one class turns into another (6 and 9) hurt",
        ),
    ),
)
