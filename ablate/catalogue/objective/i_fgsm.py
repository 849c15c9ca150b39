"""Adversarial training with the iterated fast gradient sign method: several small steps in place of one large one.

    x₀ = x;   x_{i+1} = x + clip(x_i + (ε σ / n) · sign ∇_x J(x_i) − x, ±ε σ)
    J'(x) = ½ J(x) + ½ J(x_n),   n = steps

Shapes: x is `[K, B, …]`, J is `[K]`; ε is `[K]`, in deviations σ of the batch's inputs (`seams/deviation.py`). It starts at the example
itself, `pgd` at a random point. The last point is held fixed while the weights' gradient is taken; all passes see the same
dropout masks and are in training mode. n + 1 further forward passes and n backward passes.
Lineage: Kurakin, Goodfellow & Bengio 2016 (1607.02533, section 2.2), with the mixture of losses of `fgsm`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ablate.records.errors import NotApplicable
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.adversarial import Loss, climbed, stepped
from ablate.seams.batch import Batch
from ablate.seams.deviation import deviation
from ablate.seams.settings import Settings

CLEAN = 0.5
"""α, the share of the loss on the clean inputs."""


def objective(
    loss: Loss,
    weights: Mapping[str, Tensor],
    batch: Batch,
    p: Settings,
) -> Tensor:
    x = batch.x
    if not x.is_floating_point():
        raise NotApplicable("'i_fgsm' needs inputs that have a gradient, and these are numbers of tokens")
    steps = int(p.value("steps"))
    radius = (p.like("eps", x) * deviation(x)).expand(x.shape)
    leaf = x.detach().requires_grad_()
    clean = loss(weights, batch.replaced(x=leaf))
    (gradient,) = torch.autograd.grad(clean.sum(), leaf, retain_graph=True)
    step = radius / steps
    point = stepped(x, x, gradient, radius, step)
    point = climbed(loss, weights, batch, point, radius, step, steps - 1)
    return CLEAN * clean + (1 - CLEAN) * loss(weights, batch.replaced(x=point))


TRICK = Trick(
    name="i_fgsm",
    title="Adversarial training (iterated gradient sign)",
    seam="objective",
    slot="adversarial",
    parameters=(
        Parameter(
            "eps",
            0.1,
            low=0.01,
            high=1.0,
            log=True,
            meaning="largest change of an input, in deviations of the input",
        ),
        Parameter(
            "steps",
            3,
            low=2,
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
            statement="finds worse inputs than a single step of the same size, and so trains against stronger attacks",
            source=Source(
                "Adversarial examples in the physical world",
                "Kurakin, Goodfellow, Bengio",
                2016,
                "https://arxiv.org/abs/1607.02533",
            ),
            contested="its examples transfer less well to other models than those of a single step",
        ),
    ),
)
