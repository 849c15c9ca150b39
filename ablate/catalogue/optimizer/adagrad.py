"""Adagrad: a rate for each parameter, which falls as its squared gradients add up.

    s ← s + g²;   w ← w − lr · g / (√s + ε)

Shapes: w, g, s are `[K, P]`; lr, ε are `[K]`; s starts at zero. The sum never shrinks, so the rates only
fall: in a long training they fall to a stop.
Lineage: Duchi, Hazan & Singer 2011, the diagonal form; `torch.optim.Adagrad` without its own rate decay.
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def adagrad_step(w: Tensor, g: Tensor, s: Tensor, lr: Tensor, eps: Tensor) -> Tensor:
    """New w; s is changed in place. All `[K, P]`, settings `[K, 1]`."""
    s.add_(g * g)
    return w - (g / s.sqrt().add_(eps)).mul_(lr)


def state(weights: LaneTensors) -> dict[str, Tensor]:
    return {"sum": weights.flat.new_zeros(weights.flat.shape)}


def update(
    weights: LaneTensors, gradients: LaneTensors, state: dict[str, Tensor], p: Settings, step: Tensor
) -> Tensor:
    w = weights.flat
    return adagrad_step(w, gradients.flat, state["sum"], p.like("lr", w), p.like("eps", w))


TRICK = Trick(
    name="adagrad",
    title="Adagrad",
    seam="optimizer",
    slot="optimizer",
    parameters=(
        Parameter("lr", 0.01, low=1e-4, high=1.0, log=True, meaning="learning rate"),
        Parameter("eps", 1e-10, low=1e-12, high=1e-3, log=True, meaning="keeps the divisor off zero"),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="rates fitted to each parameter learn from rare but telling features (sparse data)",
            source=Source(
                "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization",
                "Duchi, Hazan, Singer",
                2011,
                "https://jmlr.org/papers/v12/duchi11a.html",
            ),
            contested="the rates fall to a stop: the sum of squares never shrinks (rmsprop and adam repair this)",
        ),
    ),
)
