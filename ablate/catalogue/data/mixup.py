"""mixup: the model is trained on weighted means of two examples and of their targets.

    x' = λ x + (1 − λ) x_π,   t' = λ t + (1 − λ) t_π,   λ ~ Beta(α, α),   π a permutation of the batch

Shapes: x is `[K, B, …]`, t is `[K, B, C or D]`; λ is `[K]`, one draw a batch as in the paper's listing; α is
`[K]`. λ comes from two uniform numbers with no rejection, for any α > 0: Bailey's polar method gives Student's
t with 2α degrees of freedom, T = sqrt(2α (U^(−1/α) − 1)) cos 2πV, and ½ + ½ T / sqrt(2α + T²) is Beta(α, α).
Written with r = U^(1/α), which cannot overflow:

    λ = ½ + ½ cos(2πV) sqrt(1 − r) / sqrt(r + (1 − r) cos²(2πV))

It is worked out in float64 and then rounded, so that one device's last bit of a cosine is not seen.
Lineage: Zhang et al. 2017 (1710.09412); Bailey 1994 (Math. Comp. 62); Devroye 1996 (symmetric beta in one line).
"""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

from ablate.records.errors import NotApplicable
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings


def symmetric_beta(u: Tensor, v: Tensor, alpha: Tensor) -> Tensor:
    """Beta(α, α) from `u`, `v` uniform on [0, 1), all of one shape; float32. Its limit, a fair coin, at α = 0."""
    r = u.double().pow(1 / alpha.double())
    cosine = torch.cos(2 * pi * v.double())
    ratio = cosine * ((1 - r) / (r + (1 - r) * cosine.square())).sqrt()
    return (0.5 + 0.5 * ratio).clamp(0, 1).to(torch.float32)


def mixed(values: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """`values` `[K, B, …]` with their partners (int64 `[K, B]`), `share` `[K]` of the former."""
    others = torch.take_along_dim(values, partner.reshape(*partner.shape, *[1] * (values.ndim - 2)), 1)
    share = share.reshape(-1, *[1] * (values.ndim - 1)).to(values.dtype)
    return (share * values + (1 - share) * others).where(share < 1, values)


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    if not batch.x.is_floating_point():
        raise NotApplicable("'mixup' cannot mix inputs that are numbers of tokens")
    share = symmetric_beta(draws.uniform("u"), draws.uniform("v"), p.alpha)
    share = share.where(p.alpha > 0, torch.ones_like(share))
    partner = draws.permutation("partner", batch.x.shape[1])
    return batch.replaced(x=mixed(batch.x, partner, share), target=mixed(batch.target, partner, share))


TRICK = Trick(
    name="mixup",
    title="mixup",
    seam="data",
    parameters=(
        Parameter(
            "alpha",
            0.2,
            low=0.0,
            high=1.0,
            neutral=0.0,
            meaning="both shapes of the beta distribution of the share",
        ),
    ),
    applies_to=("continuous",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="better generalisation; less memorising of wrong labels",
            source=Source(
                "mixup: Beyond Empirical Risk Minimization",
                "Zhang, Cisse, Dauphin, Lopez-Paz",
                2017,
                "https://arxiv.org/abs/1710.09412",
            ),
            contested="large shapes under-fit, the more so the smaller the model and the shorter the training",
        ),
        Claim(
            metric="ece",
            direction="down",
            statement="probabilities are better calibrated",
            source=Source(
                "On Mixup Training: Improved Calibration and Predictive Uncertainty for Deep Neural Networks",
                "Thulasidasan, Chennupati, Bilmes, Bhattacharya, Michalak",
                2019,
                "https://arxiv.org/abs/1905.11001",
            ),
            contested="after temperature scaling mixup is often the worse one (Wang et al. 2023, CVPR, 'On the Pitfall')",
        ),
    ),
)
