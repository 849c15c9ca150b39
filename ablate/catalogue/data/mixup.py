"""mixup: the model is trained on weighted means of two examples and of their targets.

    x' = λ x + (1 − λ) x_π,   t' = λ t + (1 − λ) t_π,   λ ~ Beta(α, α),   π a permutation of the batch

Shapes: x is `[K, B, …]`, t is `[K, B, C or D]`; λ is `[K]`, one draw a batch as in the paper's listing; α is
`[K]`. λ comes from two uniform numbers with no rejection, for any α > 0 (`seams/beta.py`).
Lineage: Zhang et al. 2017 (1710.09412).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.errors import NotApplicable
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.beta import symmetric_beta
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings


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
    applies_to=("continuous", "mixable"),
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
