"""Stochastic gradient descent with momentum, classical or Nesterov's.

    v ← μ v + g;   w ← w − lr · v                (classical)
                   w ← w − lr · (g + μ v)        (Nesterov)

Shapes: w, g, v are `[K, P]`; lr, μ are `[K]`.
Lineage: Polyak 1964; Sutskever et al. 2013 (ICML); the form of `torch.optim.SGD` (no dampening).
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def momentum_step(
    w: Tensor, g: Tensor, v: Tensor, lr: Tensor, mu: Tensor, nesterov: Tensor
) -> tuple[Tensor, Tensor]:
    """(new w, new v); all `[K, P]`, settings `[K, 1]`."""
    v = mu * v + g
    direction = (g + mu * v).where(nesterov, v)
    return w - lr * direction, v


def state(weights: LaneTensors) -> dict[str, Tensor]:
    return {"velocity": weights.flat.new_zeros(weights.flat.shape)}


def update(
    weights: LaneTensors, gradients: LaneTensors, state: dict[str, Tensor], p: Settings, step: Tensor
) -> Tensor:
    w = weights.flat
    new, state["velocity"] = momentum_step(
        w, gradients.flat, state["velocity"], p.like("lr", w), p.like("momentum", w), p.like("nesterov", w)
    )
    return new


TRICK = Trick(
    name="momentum",
    title="SGD with momentum",
    seam="optimizer",
    slot="optimizer",
    parameters=(
        Parameter("lr", 0.05, low=1e-4, high=10.0, log=True, meaning="learning rate"),
        Parameter(
            "momentum", 0.9, low=0.0, high=0.99, most=0.9999, meaning="share of the last step that is kept"
        ),
        Parameter("nesterov", False, meaning="look ahead before taking the gradient's step"),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="faster along narrow valleys of the loss, less noise from one batch to the next",
            source=Source(
                "On the importance of initialization and momentum in deep learning",
                "Sutskever, Martens, Dahl, Hinton",
                2013,
                "https://proceedings.mlr.press/v28/sutskever13.html",
            ),
        ),
    ),
)
