"""Test-time augmentation: an example's probabilities are averaged over several views of it.

    p(c | x) = (1 / n) Σ_v softmax(z(view_v(x)))_c;   the output is log p, which has these probabilities

Shapes: x is `[K, N, C, H, W]`, z is `[K, N, classes]`; n is `views` (K values), or twice that with `mirror`.
View 1 is the unchanged image, 2 and 3 are shifts by one pixel to the right and left, 4 and 5 down and up, 6 to 9
the diagonal ones (zeros come in); with `mirror` each is also seen from left to right. Only say so where a mirrored example keeps
its class. Lanes with fewer views are passed over, so that the number of passes is that of the lane with most.
Lineage: Krizhevsky et al. 2012 (section 4.1: five crops and their mirror images, softmax averaged).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings

SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))
"""(down, right), in pixels."""


def view(x: Tensor, down: int, right: int, *, mirror: bool) -> Tensor:
    """`x` `[K, N, C, H, W]` shifted by at most its size, zeros coming in, and then mirrored left to right."""
    moved: Tensor = F.pad(x, (right, -right, down, -down))
    return moved.flip([-1]) if mirror else moved


def views(predict: Callable[[Tensor], Tensor], x: Tensor, outputs: Tensor, p: Settings) -> Tensor:
    number = torch.tensor(p.views, device=x.device)
    total = outputs.double().softmax(-1)
    for mirror in (False, True):
        for index, (down, right) in enumerate(SHIFTS):
            lanes = (index < number) & (p.mirror if mirror else index > 0)
            if lanes.any():
                probabilities = predict(view(x, down, right, mirror=mirror)).double().softmax(-1)
                total = total + probabilities.where(lanes.reshape(-1, 1, 1), torch.zeros_like(probabilities))
    count: Tensor = (number * (1 + p.mirror.to(torch.int64))).reshape(-1, 1, 1)
    # A probability of zero has no logarithm, and outputs must be finite.
    mean = (total / count).log().clamp(min=torch.finfo(outputs.dtype).min).to(outputs.dtype)
    return mean.where(count > 1, outputs)


TRICK = Trick(
    name="tta",
    title="Test-time augmentation",
    seam="evaluation",
    parameters=(
        Parameter("views", 5, choices=(1, 3, 5, 9), neutral=1, meaning="how many shifted views are averaged"),
        Parameter("mirror", False, neutral=False, meaning="also average over mirror images"),
    ),
    applies_to=("image", "classification"),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="an average over views of the test image is right more often than one view",
            source=Source(
                "ImageNet Classification with Deep Convolutional Neural Networks",
                "Krizhevsky, Sutskever, Hinton",
                2012,
                "https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks",
            ),
            contested="it also turns many right predictions into wrong ones (Shanmugam et al. 2020, 2011.11156)",
        ),
    ),
)
