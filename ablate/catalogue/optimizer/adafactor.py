"""Adafactor: Adam's second moment as the product of one number a row and one a column, and no first moment.

    β_t = 1 − t^{−d};   R ← β_t R + (1 − β_t) mean_j g²_ij;   C ← β_t C + (1 − β_t) mean_i g²_ij
    V = R Cᵀ / mean_i R;   u = g / max(√V, ε₁);   û = u / max(1, RMS(u) / clip)
    w ← w − max(ε₂, RMS(w)) · min(lr, 1 / √t) · û,    ε₁ = the dtype's rounding unit, ε₂ = 10⁻³

Shapes: a weight `[K, O, I, …]` counts as a matrix `[K, O, I · …]`: R is `[K, O, 1]`, C is `[K, 1, I · …]`, so a matrix of
O · I numbers keeps O + I. Vectors keep V itself. RMS is over one tensor of one lane. Settings are `[K]`. A step that loss
scaling skips does not count. The rate is relative to the size of the weights.
Lineage: Shazeer & Stern 2018, algorithms 4 to 6; `torch.optim.Adafactor` (which factors a convolution's last two
dimensions, kernel height and width; here the two are part of the columns).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Spec

SMALLEST = 1e-3
"""ε₂, the least size that weights count as."""


def is_factored(spec: Spec) -> bool:
    """Whether the second moment of this parameter is factored: it has two dimensions or more."""
    return len(spec.shape) > 1


def as_matrix(spec: Spec, x: Tensor) -> Tensor:
    """`[K, O, I · …]` of a weight's lanes; `[K, 1, size]` of a vector's."""
    return x.reshape(len(x), spec.shape[0] if is_factored(spec) else 1, -1)


def root_mean_square(x: Tensor) -> Tensor:
    """Root mean square of each lane's matrix: `[K, O, I]` -> `[K, 1, 1]`."""
    return x.square().mean(dim=2, keepdim=True).mean(dim=1, keepdim=True).sqrt()


def adafactor_step(w: Tensor, g: Tensor, variance: Tensor, rate: Tensor, clip: Tensor) -> Tensor:
    """New w. w, g and the estimate of g² `[K, O, I]`; `rate` (min(lr, 1/√t)) and `clip` `[K, 1, 1]`."""
    eps = torch.finfo(w.dtype).eps
    u = g * variance.clamp(min=eps * eps).rsqrt()
    shortening = (root_mean_square(u) / clip).clamp(min=1)
    return w - u * (root_mean_square(w).clamp(min=SMALLEST) * rate / shortening)


def state(weights: LaneTensors) -> dict[str, Tensor]:
    made = {"taken": weights.flat.new_zeros(weights.lanes, 1)}
    for name, tensor in weights.items():
        spec = weights.spec(name)
        _, rows, columns = as_matrix(spec, tensor).shape
        if is_factored(spec):
            made[f"rows/{name}"] = tensor.new_zeros(len(tensor), rows, 1)
            made[f"columns/{name}"] = tensor.new_zeros(len(tensor), 1, columns)
        else:
            made[f"square/{name}"] = tensor.new_zeros(len(tensor), 1, columns)
    return made


def update(
    weights: LaneTensors, gradients: LaneTensors, state: dict[str, Tensor], p: Settings, step: Tensor
) -> Tensor:
    t = state["taken"].add_(1)
    share = (t.double().log() * -p.like("decay", t).double()).exp().to(t.dtype)[:, :, None]
    rate = p.like("lr", t).minimum(t.rsqrt())[:, :, None]
    clip = p.clip[:, None, None]
    eps = torch.finfo(t.dtype).eps

    def moved(spec: Spec, w: Tensor) -> Tensor:
        w, g = as_matrix(spec, w), as_matrix(spec, gradients[spec.name])
        square = g * g
        if is_factored(spec):
            rows = state[f"rows/{spec.name}"].lerp_(square.mean(dim=2, keepdim=True), share)
            columns = state[f"columns/{spec.name}"].lerp_(square.mean(dim=1, keepdim=True), share)
            variance = rows * columns / rows.mean(dim=1, keepdim=True).clamp(min=eps)
        else:
            variance = state[f"square/{spec.name}"].lerp_(square, share)
        return adafactor_step(w, g, variance, rate, clip)

    return weights.map(moved).flat


TRICK = Trick(
    name="adafactor",
    title="Adafactor",
    seam="optimizer",
    slot="optimizer",
    parameters=(
        Parameter(
            "lr",
            0.03,
            low=1e-4,
            high=1.0,
            log=True,
            meaning="length of a step, in sizes of the weights (at most 1 / √t)",
        ),
        Parameter(
            "decay", 0.8, low=0.5, high=1.0, most=1.0, meaning="d: how fast the averages grow longer, t^-d"
        ),
        Parameter(
            "clip", 1.0, low=1.0, high=4.0, log=True, least=1e-6, meaning="largest root mean square of a step"
        ),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="memory",
            direction="down",
            statement="state of n + m numbers for a matrix of n · m, at Adam's results in translation",
            source=Source(
                "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost",
                "Shazeer, Stern",
                2018,
                "https://arxiv.org/abs/1804.04235",
            ),
        ),
        Claim(
            metric="accuracy",
            direction="same",
            statement="no loss of quality against Adam with a tuned schedule",
            source=Source(
                "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost",
                "Shazeer, Stern",
                2018,
                "https://arxiv.org/abs/1804.04235",
            ),
        ),
    ),
)
