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
    w: Tensor, g: Tensor, v: Tensor, lr: Tensor, mu: Tensor, ahead: tuple[Tensor, Tensor] | None
) -> Tensor:
    """New w; v is changed in place. All `[K, P]`, settings `[K, 1]`; `ahead`: the shares of g and of v that Nesterov's
    lanes go along (other lanes: 0 and 1), None if there are none."""
    v.mul_(mu).add_(g)
    direction = v if ahead is None else (v * ahead[1]).add_(g * ahead[0])
    return w - lr * direction


def look_ahead(p: Settings) -> tuple[Tensor, Tensor] | None:
    """(1, μ) for the lanes that look ahead, (0, 1) for the others, each `[K, 1]`."""
    if not bool(p.nesterov.any()):
        return None
    mu = p.momentum
    return p.nesterov.to(mu.dtype)[:, None], mu.where(p.nesterov, mu.new_ones(()))[:, None]


def state(weights: LaneTensors) -> dict[str, Tensor]:
    return {"velocity": weights.flat.new_zeros(weights.flat.shape)}


def update(
    weights: LaneTensors, gradients: LaneTensors, state: dict[str, Tensor], p: Settings, step: Tensor
) -> Tensor:
    w = weights.flat
    ahead = p.once(look_ahead)
    return momentum_step(w, gradients.flat, state["velocity"], p.like("lr", w), p.like("momentum", w), ahead)


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
