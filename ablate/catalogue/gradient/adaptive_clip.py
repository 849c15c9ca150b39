"""Adaptive gradient clipping (AGC): each unit's gradient is kept short against the unit's own weights.

    limit = λ · max(‖w_i‖, ε);   g_i ← g_i · limit / max(‖g_i‖, 10⁻⁶)  where ‖g_i‖ ≥ limit

Shapes: w_i, g_i are one output unit's weights and their gradient: a row of a matrix, a filter of a
convolution (all dimensions but the first, in torch's layout); λ, ε are `[K]`. A bias or a gain is one unit as
a whole, and so is any tensor that is a vector but for dimensions of size 1, as in the authors' code. The head
is left alone (the paper, section 4.1).
Lineage: Brock et al. 2021, equation 3, and its code (deepmind-research/nfnets/optim.py).
"""

from __future__ import annotations

from math import inf

from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Spec


def unitwise_norm(x: Tensor) -> Tensor:
    """Norms of a tensor's units: `[K, O, …]` -> `[K, O, 1, …]`, or `[K, 1, …]` if it is but a vector."""
    lanes, *shape = x.shape
    vector = sum(size > 1 for size in shape) <= 1
    units = 1 if vector else shape[0]
    squares = x.reshape(lanes, units, -1).square().sum(dim=2)
    return (
        squares.sqrt().reshape(lanes, units, *[1] * (len(shape) - 1)) if shape else squares.sqrt().flatten()
    )


def clip_units(g: Tensor, w: Tensor, clipping: Tensor, eps: Tensor) -> Tensor:
    """The clipped gradient; g and w `[K, …]`, settings broadcast against them `[K, 1, …]`."""
    norm, limit = unitwise_norm(g), clipping * unitwise_norm(w).maximum(eps)
    short = (norm < limit) | limit.isinf()  # at the neutral setting also where the norm itself overflows
    return g.where(short, g * (limit / norm.clamp(min=1e-6)))


def gradient(gradients: LaneTensors, weights: LaneTensors, p: Settings) -> LaneTensors:
    def clip(spec: Spec, g: Tensor) -> Tensor:
        if spec.head:
            return g
        return clip_units(g, weights[spec.name], p.like("clipping", g), p.like("eps", g))

    return gradients.map(clip)


TRICK = Trick(
    name="adaptive_clip",
    title="Adaptive gradient clipping",
    seam="gradient",
    parameters=(
        Parameter(
            "clipping",
            0.01,
            low=1e-3,
            high=1.0,
            log=True,
            neutral=inf,
            meaning="longest gradient, in weights",
        ),
        Parameter("eps", 1e-3, low=1e-4, high=1e-2, log=True, meaning="least norm that weights count as"),
    ),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="networks without normalisation train at large batch sizes and learning rates",
            source=Source(
                "High-Performance Large-Scale Image Recognition Without Normalization",
                "Brock, De, Smith, Simonyan",
                2021,
                "https://arxiv.org/abs/2102.06171",
            ),
            contested="the paper itself finds less to gain at small batch sizes",
        ),
    ),
)
