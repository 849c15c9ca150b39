"""L1 penalty: the sum of the weights' absolute values is added to the loss, which drives many of them towards zero.

    loss' = loss + λ Σ_w |w|

Shapes: loss is `[K]`; w are all weights of two or more dimensions (kernels, matrices, embeddings; no biases or gains), λ is `[K]`.
The subgradient at zero is zero. Plain gradient steps leave weights near zero, not at it: what is below a step's length may be pruned.
Lineage: Tibshirani 1996 (the lasso).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings


def absolute_sum(weights: Mapping[str, Tensor]) -> Tensor:
    """Σ |w| over the lanes' matrices, `[K]`; tensors `[K, *shape]`. Zero if there are none."""
    total = next(iter(weights.values())).new_zeros(())
    for tensor in weights.values():
        if tensor.ndim > 2:
            total = total + tensor.flatten(1).abs().sum(dim=1)
    return total


def penalty(weights: Mapping[str, Tensor], p: Settings) -> Tensor:
    strength: Tensor = p.strength
    return strength * absolute_sum(weights)


TRICK = Trick(
    name="l1",
    title="L1 penalty",
    seam="criterion",
    parameters=(
        Parameter(
            "strength", 1e-4, low=1e-6, high=1e-2, log=True, neutral=0.0, meaning="λ, weight of the penalty"
        ),
    ),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="sparse solutions: inputs and weights that do not matter are switched off, and less is over-fitted",
            source=Source(
                "Regression Shrinkage and Selection via the Lasso",
                "Tibshirani",
                1996,
                "https://doi.org/10.1111/j.2517-6161.1996.tb02080.x",
            ),
            contested="in deep networks weight decay usually generalises better",
        ),
    ),
)
