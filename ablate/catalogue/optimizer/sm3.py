"""SM3: Adagrad whose sums of squares are kept by row, column, … instead of by weight.

    ν_ij = min(μ_i, μ'_j) + g²_ij;   m ← β m + (1 − β) g / √ν;   w ← w − lr · m
    μ_i ← max_j ν_ij;   μ'_j ← max_i ν_ij

Shapes: a weight `[K, n₁, n₂, …]` has one accumulator for each of its dimensions, `[K, n₁, 1, …]`, `[K, 1, n₂, …]`, …: it keeps
n₁ + n₂ + … numbers in place of n₁ · n₂ · … (and the momentum, where β > 0 in any lane, all of them). Settings are `[K]`.
0 / √0 counts as 0. For a vector it is Adagrad.
Lineage: Anil et al. 2019, algorithm SM3-II with the covers of section 4; the momentum of their implementation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.averages import running_mean_
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Spec


def dimensions(spec: Spec) -> tuple[int, ...]:
    """The tensor's shape, with two dimensions at least."""
    return (*[1] * (2 - len(spec.shape)), *spec.shape)


def accumulated(g: Tensor, sums: list[Tensor]) -> Tensor:
    """ν `[K, n₁, …]`; the accumulators, one a dimension, become its maxima. g `[K, n₁, …]`."""
    least = sums[0]
    for other in sums[1:]:
        least = torch.minimum(least, other)
    v = least + g * g
    for dim, maxima in enumerate(sums, 1):
        others = [d for d in range(1, v.ndim) if d != dim]
        maxima.copy_(v.amax(dim=others, keepdim=True))
    return v


def state(weights: LaneTensors) -> dict[str, Tensor]:
    made = {"mean": weights.flat.new_zeros(weights.flat.shape)}
    for name, tensor in weights.items():
        shape = dimensions(weights.spec(name))
        for dim, size in enumerate(shape):
            view = [1] * len(shape)
            view[dim] = size
            made[f"maxima{dim}/{name}"] = tensor.new_zeros(len(tensor), *view)
    return made


def update(
    weights: LaneTensors, gradients: LaneTensors, state: dict[str, Tensor], p: Settings, step: Tensor
) -> Tensor:
    def scaled(spec: Spec, g: Tensor) -> Tensor:
        shape = dimensions(spec)
        g = g.reshape(len(g), *shape)
        v = accumulated(g, [state[f"maxima{dim}/{spec.name}"] for dim in range(len(shape))])
        return (g / v.sqrt()).where(v > 0, g.new_zeros(()))

    w, beta = weights.flat, p.like("momentum", weights.flat)
    direction = gradients.map(scaled).flat
    return w - p.like("lr", w) * running_mean_(state["mean"], direction, beta, 1 - beta)


TRICK = Trick(
    name="sm3",
    title="SM3 (memory-efficient Adagrad)",
    seam="optimizer",
    slot="optimizer",
    parameters=(
        Parameter("lr", 0.1, low=1e-4, high=10.0, log=True, meaning="learning rate"),
        Parameter(
            "momentum", 0.9, low=0.0, high=0.99, most=0.9999, meaning="share of the last step that is kept"
        ),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="memory",
            direction="down",
            statement="second-moment state of n + m numbers for a matrix of n · m: larger models or batches fit",
            source=Source(
                "Memory-Efficient Adaptive Optimization",
                "Anil, Gupta, Koren, Singer",
                2019,
                "https://arxiv.org/abs/1901.11150",
            ),
        ),
        Claim(
            metric="accuracy",
            direction="same",
            statement="as good as Adam and Adagrad, which keep a number for every weight",
            source=Source(
                "Memory-Efficient Adaptive Optimization",
                "Anil, Gupta, Koren, Singer",
                2019,
                "https://arxiv.org/abs/1901.11150",
            ),
        ),
    ),
)
