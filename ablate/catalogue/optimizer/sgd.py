"""Stochastic gradient descent, plain: the baseline of every optimizer.

    w ← w − lr · g

Shapes: w, g are `[K, P]`; lr is `[K]`. It keeps no state. Whether g is the gradient of one example, of a
batch or of all the data is the business of the task's batch size.
Lineage: Robbins & Monro 1951; `torch.optim.SGD` without momentum.
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def sgd_step(w: Tensor, g: Tensor, lr: Tensor) -> Tensor:
    """New w; w and g `[K, P]`, lr `[K, 1]`."""
    return w - lr * g


def state(weights: LaneTensors) -> dict[str, Tensor]:
    return {}


def update(
    weights: LaneTensors, gradients: LaneTensors, state: dict[str, Tensor], p: Settings, step: Tensor
) -> Tensor:
    return sgd_step(weights.flat, gradients.flat, p.like("lr", weights.flat))


TRICK = Trick(
    name="sgd",
    title="Stochastic gradient descent",
    seam="optimizer",
    slot="optimizer",
    parameters=(Parameter("lr", 0.1, low=1e-4, high=10.0, log=True, meaning="learning rate"),),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="generalises better than adaptive methods, even where those fit the training data sooner",
            source=Source(
                "The Marginal Value of Adaptive Gradient Methods in Machine Learning",
                "Wilson, Roelofs, Stern, Srebro, Recht",
                2017,
                "https://arxiv.org/abs/1705.08292",
            ),
            contested="Choi et al. 2019 (1910.05446): tuned with equal care, adaptive methods never do worse",
        ),
        Claim(
            metric="memory",
            direction="down",
            statement="needs nothing but the present gradient: a noisy one is enough to approach the solution",
            source=Source(
                "A Stochastic Approximation Method",
                "Robbins, Monro",
                1951,
                "https://doi.org/10.1214/aoms/1177729586",
            ),
        ),
    ),
)
