"""Adversarial training by projected gradient descent: the model is trained on the worst input found within a box around each example.

    x₀ = x + ε σ u,  u uniform on −1 … 1;   x_{i+1} = x + clip(x_i + a · ε σ · sign ∇_x J(x_i) − x, ±ε σ)
    J'(x) = J(x_n),   n = steps

Shapes: x is `[K, B, …]`, J is `[K]`; ε (in deviations σ of the batch's inputs, `seams/deviation.py`) and a (a step, in ε) are `[K]`. The
last point is held fixed while the weights' gradient is taken. All passes see the same dropout masks and are in training mode, so
running statistics of batch normalisation follow perturbed inputs. n further forward and backward passes.
Lineage: Madry et al. 2017, equation 2.1 and section 2.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ablate.records.errors import NotApplicable
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.adversarial import Loss, climbed
from ablate.seams.batch import Batch
from ablate.seams.deviation import deviation
from ablate.seams.settings import Settings


def objective(
    loss: Loss,
    weights: Mapping[str, Tensor],
    batch: Batch,
    p: Settings,
) -> Tensor:
    x = batch.x
    if not x.is_floating_point():
        raise NotApplicable("'pgd' needs inputs that have a gradient, and these are numbers of tokens")
    radius = (p.like("eps", x) * deviation(x)).expand(x.shape)
    step = p.like("step", x) * radius
    start = torch.zeros_like(x)
    if batch.draws is not None:
        start = 2 * batch.draws.within("pgd").uniform("start", *x.shape[1:]).to(x.dtype) - 1
    point = x + radius * start
    point = climbed(loss, weights, batch, point, radius, step, int(p.value("steps")))
    return loss(weights, batch.replaced(x=point))


TRICK = Trick(
    name="pgd",
    title="Adversarial training (projected gradient descent)",
    seam="objective",
    slot="adversarial",
    parameters=(
        Parameter(
            "eps",
            0.1,
            low=0.01,
            high=1.0,
            log=True,
            meaning="half side of the box, in deviations of the input",
        ),
        Parameter("step", 0.5, low=0.1, high=1.0, meaning="length of a step, in eps"),
        Parameter(
            "steps",
            3,
            low=1,
            high=10,
            lane=False,
            least=1,
            meaning="steps, each a forward and a backward pass",
        ),
    ),
    lane=False,
    applies_to=("continuous",),
    claims=(
        Claim(
            metric="robust_accuracy",
            direction="up",
            statement="robust against every first-order attack within the box, not only against the one trained on",
            source=Source(
                "Towards Deep Learning Models Resistant to Adversarial Attacks",
                "Madry, Makelov, Schmidt, Tsipras, Vladu",
                2017,
                "https://arxiv.org/abs/1706.06083",
            ),
            contested="clean accuracy falls, and small models fall short (the paper, section 4; Tsipras et al. 2018, 1805.12152)",
        ),
    ),
)
