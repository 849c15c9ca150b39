"""Gradient centralisation: the mean of the gradient of each output unit's weights is subtracted.

    g_i ← g_i − mean(g_i),    g_i: the gradient of one row of a matrix, or of one filter of a convolution

Shapes: tensors `[K, O, I, …]`, the mean is over all dimensions but the first two: `[K, O, 1, …]`. Biases, gains and other vectors
are unchanged. It has no settings.
Lineage: Yong et al. 2020, equation 1; applied to convolutions and linear layers alike.
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.trick import Claim, Source, Trick
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Spec


def centralised(g: Tensor) -> Tensor:
    """`[K, O, I, …]` less the mean of each `[I, …]`."""
    mean = g.flatten(2).mean(dim=2)
    return g - mean.reshape(*mean.shape, *[1] * (g.ndim - 2))


def gradient(gradients: LaneTensors, weights: LaneTensors, p: Settings) -> LaneTensors:
    def change(spec: Spec, g: Tensor) -> Tensor:
        return centralised(g).where(p.like("on", g), g) if len(spec.shape) > 1 else g

    return gradients.map(change)


TRICK = Trick(
    name="gradient_centralization",
    title="Gradient centralisation",
    seam="gradient",
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="better generalisation and faster training at once: weights are kept in a hyperplane",
            source=Source(
                "Gradient Centralization: A New Optimization Technique for Deep Neural Networks",
                "Yong, Huang, Hua, Zhang",
                2020,
                "https://arxiv.org/abs/2004.01461",
            ),
        ),
    ),
)
