"""Adversarial training with the fast gradient sign method: also learn from the worst input within reach.

    J'(x) = α · J(x) + (1 − α) · J(x + ε · σ · sign ∇_x J(x)),   α = 1/2

Shapes: x is `[K, B, …]`, J is `[K]`, ε is `[K]` in units of σ, the standard deviation of the batch's inputs: of
each column of a table, of all numbers otherwise. The direction is held fixed while the weights' gradient is
taken. Both passes see the same dropout masks. Both are passes in training mode, so running statistics of batch
normalisation are updated twice a step, from clean and from perturbed inputs. Costs a second forward and about
one and a half more backward passes.
Lineage: Goodfellow et al. 2014 (1412.6572, section 6, with their α).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ablate.records.errors import NotApplicable
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.deviation import deviation
from ablate.seams.settings import Settings

CLEAN = 0.5
"""α, the share of the loss on the clean inputs."""


def perturbed(x: Tensor, gradient: Tensor, eps: Tensor) -> Tensor:
    """x + ε · σ · sign g, all `[K, B, …]` but eps `[K, 1, …]`."""
    return x + eps * deviation(x) * gradient.sign()


def objective(
    loss: Callable[[Mapping[str, Tensor], Batch], Tensor],
    weights: Mapping[str, Tensor],
    batch: Batch,
    p: Settings,
) -> Tensor:
    if not batch.x.is_floating_point():
        raise NotApplicable("'fgsm' needs inputs that have a gradient, and these are numbers of tokens")
    x = batch.x.detach().requires_grad_()
    clean = loss(weights, batch.replaced(x=x))
    (gradient,) = torch.autograd.grad(clean.sum(), x, retain_graph=True)
    worst = perturbed(batch.x, gradient, p.like("eps", x)).detach()
    return CLEAN * clean + (1 - CLEAN) * loss(weights, batch.replaced(x=worst))


TRICK = Trick(
    name="fgsm",
    title="Adversarial training (fast gradient sign method)",
    seam="objective",
    slot="adversarial",
    parameters=(
        Parameter(
            "eps",
            0.1,
            low=0.01,
            high=1.0,
            log=True,
            meaning="size of the perturbation, in deviations of the input",
        ),
    ),
    lane=False,
    applies_to=("continuous",),
    claims=(
        Claim(
            metric="robust_accuracy",
            direction="up",
            statement="far fewer errors on inputs perturbed by the same method",
            source=Source(
                "Explaining and Harnessing Adversarial Examples",
                "Goodfellow, Shlens, Szegedy",
                2014,
                "https://arxiv.org/abs/1412.6572",
            ),
            contested=(
                "against attacks of many steps little may remain, and robustness can break down within an epoch"
                " (Wong et al. 2020, 2001.03994)"
            ),
        ),
        Claim(
            metric="accuracy",
            direction="up",
            statement="regularises: on MNIST the test error of a maxout network fell from 0.94 % to 0.84 %",
            source=Source(
                "Explaining and Harnessing Adversarial Examples",
                "Goodfellow, Shlens, Szegedy",
                2014,
                "https://arxiv.org/abs/1412.6572",
            ),
            contested="on natural images clean accuracy usually falls (Tsipras et al. 2018, 1805.12152)",
        ),
    ),
)
