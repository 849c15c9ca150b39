"""RMSprop: the gradient divided by a running average of its recent magnitude.

    s ← α s + (1 − α) g²;   w ← w − lr · g / (√s + ε)

Shapes: w, g, s are `[K, P]`; lr, α, ε are `[K]`; s starts at zero and that is not corrected, so that the
first step is about lr / √(1 − α) long.
Lineage: Tieleman & Hinton 2012; `torch.optim.RMSprop` without momentum and without centring.
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors


def rmsprop_step(
    w: Tensor, g: Tensor, s: Tensor, lr: Tensor, alpha: Tensor, one_minus_alpha: Tensor, eps: Tensor
) -> Tensor:
    """New w; s is changed in place. All `[K, P]`, settings `[K, 1]`; one_minus_alpha is 1 − α."""
    s.mul_(alpha).add_((g * g).mul_(one_minus_alpha))
    return w - (g / s.sqrt().add_(eps)).mul_(lr)


def one_minus_alpha(p: Settings) -> Tensor:
    """1 − α, `[K, 1]`."""
    alpha: Tensor = p.alpha[:, None]
    return 1 - alpha


def state(weights: LaneTensors) -> dict[str, Tensor]:
    return {"square": weights.flat.new_zeros(weights.flat.shape)}


def update(
    weights: LaneTensors, gradients: LaneTensors, state: dict[str, Tensor], p: Settings, step: Tensor
) -> Tensor:
    w = weights.flat
    lr, alpha, eps = p.like("lr", w), p.like("alpha", w), p.like("eps", w)
    return rmsprop_step(w, gradients.flat, state["square"], lr, alpha, p.once(one_minus_alpha), eps)


TRICK = Trick(
    name="rmsprop",
    title="RMSprop",
    seam="optimizer",
    slot="optimizer",
    parameters=(
        Parameter("lr", 0.001, low=1e-5, high=1.0, log=True, meaning="learning rate"),
        Parameter(
            "alpha", 0.99, low=0.9, high=0.999, most=0.99999, meaning="share of the old average that is kept"
        ),
        Parameter("eps", 1e-8, low=1e-10, high=1e-3, log=True, meaning="keeps the divisor off zero"),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="forgets old gradients, so that rates do not fall to a stop as adagrad's do",
            source=Source(
                "Lecture 6.5-rmsprop: Divide the gradient by a running average of its recent magnitude",
                "Tieleman, Hinton",
                2012,
                "https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf",
            ),
        ),
    ),
)
