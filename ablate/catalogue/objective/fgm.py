"""Adversarial training on embeddings (fast gradient method): also learn from the worst embeddings within reach.

    J'(E, w) = ½ J(E, w) + ½ J(E + r, w),    r = ε g / ‖g‖₂,  g = ∇_E J(E, w)

Shapes: E is an embedding layer's table `[K, V, D]`, each perturbed by itself, w all other weights, J is `[K]`, ε is `[K]` in the table's units. r is held fixed while the weights'
gradient is taken. Both passes see the same dropout masks and are in training mode. A second forward and about one and a half more backward passes.
The paper perturbs the embedded words of each example apart, and scales the table so that words have mean zero and deviation one; perturbing the table once for the
whole batch is the common form, which needs nothing of the model.
Lineage: Miyato, Dai & Goodfellow 2016, equations 5 and 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ablate.records.errors import NotApplicable
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.settings import Settings


def perturbation(gradient: Tensor, eps: Tensor) -> Tensor:
    """ε g / ‖g‖ of each lane `[K, V, D]`; eps `[K]`. Zero where the gradient is."""
    norm = gradient.flatten(1).square().sum(dim=1).sqrt()
    scale = torch.where(norm > 0, eps / norm.clamp(min=1e-30), torch.zeros_like(norm))
    return scale[:, None, None] * gradient


def objective(
    loss: Callable[[Mapping[str, Tensor], Batch], Tensor],
    weights: Mapping[str, Tensor],
    batch: Batch,
    p: Settings,
) -> Tensor:
    named = dict(weights)
    tables = {name: named[name] for name in p.facts.embeddings if named[name].requires_grad}
    if not tables:
        raise NotApplicable("'fgm' needs an embedding layer that is trained")
    clean = loss(named, batch)
    gradients = torch.autograd.grad(clean.sum(), list(tables.values()), retain_graph=True)
    worst = {
        name: table + perturbation(gradient, p.eps)
        for (name, table), gradient in zip(tables.items(), gradients, strict=True)
    }
    return (clean + loss({**named, **worst}, batch)) / 2


TRICK = Trick(
    name="fgm",
    title="Adversarial training on embeddings (fast gradient method)",
    seam="objective",
    slot="adversarial",
    parameters=(
        Parameter(
            "eps",
            0.5,
            low=0.05,
            high=5.0,
            log=True,
            meaning="length of the perturbation of an embedding table",
        ),
    ),
    lane=False,
    applies_to=("embedding",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="text classification generalises better and over-fits less, and the embeddings of words are of better quality",
            source=Source(
                "Adversarial Training Methods for Semi-Supervised Text Classification",
                "Miyato, Dai, Goodfellow",
                2016,
                "https://arxiv.org/abs/1605.07725",
            ),
        ),
    ),
)
