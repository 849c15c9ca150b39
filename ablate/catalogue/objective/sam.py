"""Sharpness-aware minimisation: the gradient is taken where the loss is worst within a ball around the weights.

    e = ρ ∇J(w) / ‖∇J(w)‖;   J'(w) = J(w + e), e held fixed

Shapes: w is name -> `[K, *shape]`, J is `[K]`; the norm is over all parameters of a lane; ρ is `[K]`. Both passes see the same batch
and the same dropout masks, and both are in training mode, so running statistics of batch normalisation are updated twice. A second
forward and backward pass.
Lineage: Foret et al. 2020, algorithm 1 (p = 2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.settings import Settings


def global_norm(gradients: Mapping[str, Tensor]) -> Tensor:
    """`[K]`, over all tensors `[K, *shape]`; summed tensor by tensor."""
    squares = [g.flatten(1).square().sum(dim=1) for g in gradients.values()]
    return torch.stack(squares, dim=1).cumsum(dim=1)[:, -1].sqrt()


def ascended(
    weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], rho: Tensor
) -> dict[str, Tensor]:
    """w + ρ g / ‖g‖ where there is a gradient; ρ `[K]`. The weights themselves in a lane whose gradient is zero."""
    norm = global_norm(gradients)
    scale = torch.where(norm > 0, rho / norm.clamp(min=1e-12), rho.new_zeros(()))
    return {
        name: w + scale.reshape(-1, *[1] * (w.ndim - 1)) * gradients[name] if name in gradients else w
        for name, w in weights.items()
    }


def objective(
    loss: Callable[[Mapping[str, Tensor], Batch], Tensor],
    weights: Mapping[str, Tensor],
    batch: Batch,
    p: Settings,
) -> Tensor:
    named = dict(weights)
    trained = {name: w for name, w in named.items() if w.requires_grad}
    ascent = torch.autograd.grad(loss(named, batch).sum(), list(trained.values()), allow_unused=True)
    gradients = {name: g for name, g in zip(trained, ascent, strict=True) if g is not None}
    return loss(ascended(named, gradients, p.rho), batch)


TRICK = Trick(
    name="sam",
    title="Sharpness-aware minimisation",
    seam="objective",
    parameters=(Parameter("rho", 0.05, low=0.01, high=0.5, log=True, meaning="radius of the ball"),),
    lane=False,
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="flatter minima generalise better, and wrong labels are memorised less",
            source=Source(
                "Sharpness-Aware Minimization for Efficiently Improving Generalization",
                "Foret, Kleiner, Mobahi, Neyshabur",
                2020,
                "https://arxiv.org/abs/2010.01412",
            ),
            contested="twice the cost: a training twice as long is the fair comparison; sharpness alone does not explain it (Andriushchenko et al. 2023, 2302.07011)",
        ),
    ),
)
