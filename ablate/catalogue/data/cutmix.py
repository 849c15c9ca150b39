"""CutMix: a rectangle of every training image is replaced by that of another, and the targets are mixed by area.

    x' = x outside the rectangle, x_π inside;   t' = λ' t + (1 − λ') t_π,   λ ~ Beta(α, α)
    sides √(1 − λ) · H and √(1 − λ) · W, centre uniform, cut to the image;  λ' = share of the image that is left

Shapes: x is `[K, B, C, H, W]`, t is `[K, B, C]`; the rectangle, λ and the permutation π are one draw a batch, as in the authors' code; α and p,
the probability that a batch is mixed, are `[K]`.
Lineage: Yun et al. 2019, equations 1 and 2, and their code (clovaai/CutMix-PyTorch).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.beta import symmetric_beta
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings


def edges(centre: Tensor, length: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """(first pixel, the one after the last) of a span about `centre`, cut to `side`; all `[K]`, whole numbers."""
    half = (length / 2).floor()
    return (centre - half).clamp(0, side), (centre + half).clamp(0, side)


def pasted(values: Tensor, partner: Tensor, inside: Tensor) -> Tensor:
    """`values` `[K, B, C, H, W]`, their partners' (int64 `[K, B]`) where `inside`, bool `[K, H, W]`."""
    others = torch.take_along_dim(values, partner[:, :, None, None, None], 1)
    return torch.where(inside[:, None, None], others, values)


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    x, t = batch.x, batch.target
    height, width = x.shape[3:]
    share = symmetric_beta(draws.uniform("u"), draws.uniform("v"), p.alpha)
    spans = []
    for side, name in ((height, "row"), (width, "column")):
        length = (side * (1 - share).sqrt()).floor()
        first, last = edges((draws.uniform(name) * side).floor(), length, side)
        pixel = torch.arange(side, device=x.device)
        spans.append((pixel >= first[:, None]) & (pixel < last[:, None]))
    mixed = draws.uniform("mix") < p.p
    inside = spans[0][:, :, None] & spans[1][:, None, :] & mixed[:, None, None]
    left = (1 - inside.to(t.dtype).mean((1, 2)))[:, None, None]
    partner = draws.permutation("partner", x.shape[1])
    others = torch.take_along_dim(t, partner[:, :, None], 1)
    target = torch.where(left < 1, left * t + (1 - left) * others, t)
    return batch.replaced(x=pasted(x, partner, inside), target=target)


TRICK = Trick(
    name="cutmix",
    title="CutMix",
    seam="data",
    parameters=(
        Parameter(
            "p", 0.5, low=0.0, high=1.0, neutral=0.0, most=1.0, meaning="probability that a batch is mixed"
        ),
        Parameter(
            "alpha",
            1.0,
            low=0.2,
            high=2.0,
            least=0.01,
            meaning="both shapes of the beta distribution of the share",
        ),
    ),
    applies_to=("image", "classification"),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="better than mixup and cutout: ResNet-50 on ImageNet, top-1 error from 23.7 % to 21.4 %",
            source=Source(
                "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
                "Yun, Han, Oh, Chun, Choe, Yoo",
                2019,
                "https://arxiv.org/abs/1905.04899",
            ),
            contested="needs long training; small models and short budgets under-fit",
        ),
    ),
)
