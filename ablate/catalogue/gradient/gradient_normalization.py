"""Gradient normalisation: every tensor's gradient is divided by its norm, so that only its direction counts.

    g_i ← g_i / (‖g_i‖ + ε),    i: a weight, a bias, …;  ε = 10⁻⁸

Shapes: g is `[K, P]`, the norms are `[K, T]`, one for each of T tensors. The length of a step is then the learning rate's alone,
layer by layer; rates must be tuned again. It has no settings.
Lineage: Yu et al. 2017, algorithm 1 (block-normalised gradients), with one block for each tensor.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Source, Trick
from ablate.seams.by_tensor import scaled_by_tensor, tensor_norms
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors

EPS = 1e-8


def scales(norms: Tensor, on: Tensor) -> Tensor:
    """1 / (‖g‖ + ε) in the lanes that have it, else 1; norms `[K, T]`, on bool `[K, 1]`."""
    return torch.where(on, 1 / (norms + EPS), norms.new_ones(()))


def gradient(gradients: LaneTensors, weights: LaneTensors, p: Settings) -> LaneTensors:
    norms = tensor_norms(gradients)
    return scaled_by_tensor(gradients, scales(norms, p.like("on", norms)))


TRICK = Trick(
    name="gradient_normalization",
    title="Gradient normalisation by tensor",
    seam="gradient",
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="steps_to_target",
            direction="down",
            statement="training is faster: with momentum in deep convolutional networks, with Adam in recurrent ones; and generalises better",
            source=Source(
                "Block-Normalized Gradient Method: An Empirical Study for Training Deep Neural Network",
                "Yu, Huang, Lin, Salakhutdinov, Carbonell",
                2017,
                "https://arxiv.org/abs/1707.04822",
            ),
        ),
    ),
)
