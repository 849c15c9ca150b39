"""Whitening (IterNorm): channels are not only standardised but made uncorrelated, by Newton's iteration on their covariance.

    Σ = X Xᵀ / m + ε I;   Σ_N = Σ / tr Σ;   P₀ = I,  P_k = (3 P_{k−1} − P³_{k−1} Σ_N) / 2;   y = γ · P_T / √(tr Σ) · X + β

Shapes: x, y are one lane's activations `[B, C, …]`; X `[d, m]` is a group of d neighbouring channels without their means, m examples and positions; Σ, P are `[d, d]`,
γ, β are `[C]`. In training mean and whitening matrix are the batch's, and running ones follow them (running ← (1 − momentum) · running + momentum · batch); in
evaluation the running ones stand in. Where `group` does not divide a layer's channels, the largest divisor below it is taken. T iterations whiten the
directions of large variance and leave those of small variance, which a batch estimates badly, partly as they are.
It stands after each hidden convolution and linear layer, before the non-linearity; that layer's bias, which the mean would cancel, is dropped. A model
that has norm layers has those replaced, and keeps its biases.
Lineage: Huang et al. 2018 (decorrelated batch normalisation); Huang et al. 2019, algorithms 1 and 2, whose T = 5 is the default; the coupled form of the iteration is
that of Higham 2008, equation 6.35.
"""

from __future__ import annotations

from typing import Any

from ablate.records.errors import InputError
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.layer_types import NORMS
from ablate.surgery.net import Net
from ablate.surgery.whitening import IterNorm


def group_size(channels: int, most: int) -> int:
    """The largest divisor of `channels` that is at most `most`."""
    return next(size for size in range(min(most, channels), 0, -1) if channels % size == 0)


def model(net: Net, p: Any) -> None:
    if p.momentum > 1:
        raise InputError(f"whitening.momentum must be at most 1, not {p.momentum}")
    for switch, channels, _ in net.norm_switches("whitening"):
        size = group_size(channels, p.group)
        switch.add("whitening", IterNorm(channels, size, p.iterations, p.momentum, p.eps), p.on)
        net.count("whitening")
    if not net.of(*NORMS):
        for _, site in net.sites():
            site.drop_bias(p.on)


TRICK = Trick(
    name="whitening",
    title="Whitening (IterNorm)",
    seam="model",
    slot="norm",
    applies_to=("normalisable",),
    parameters=(
        Parameter("iterations", 5, low=1, high=9, least=1, most=20, meaning="Newton iterations: fewer whiten less"),
        Parameter("group", 16, choices=(4, 8, 16, 32, 64), lane=False, meaning="channels that are whitened together, at most"),
        Parameter("momentum", 0.1, low=0.01, high=0.5, log=True, meaning="how fast the running statistics follow the batch's"),
        Parameter("eps", 1e-3, low=1e-5, high=1e-1, log=True, meaning="added to the variances"),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="better conditioned than batch normalisation, which only standardises: faster training and better generalisation",
            source=Source(
                "Iterative Normalization: Beyond Standardization towards Efficient Whitening",
                "Huang, Zhou, Zhu, Liu, Shao",
                2019,
                "https://arxiv.org/abs/1904.03441",
            ),
            contested="a covariance needs more examples than a variance: with small batches and full whitening it is worse",
        ),
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="decorrelated batch normalisation improves on batch normalisation in conditioning and speed",
            source=Source(
                "Decorrelated Batch Normalization",
                "Huang, Yang, Lang, Deng",
                2018,
                "https://arxiv.org/abs/1804.08450",
            ),
        ),
    ),
)  # fmt: skip
