"""ACNet's asymmetric kernels: a horizontal and a vertical kernel are added to the middle row and column of every square one.

    Ŵ = W + (H in the middle row) + (V in the middle column)

Shapes: W is one lane's weight `[O, I, k, k]` with odd k > 1; H is `[O, I, 1, k]`, V is `[O, I, k, 1]`, drawn as torch draws such convolutions. By linearity this is the sum
of three convolutions folded into one kernel, in training too, so inference costs what it did. The authors have a batch norm behind each of the three, folded
only for inference; here the model's norm follows their sum, and only the strengthened centre of the kernel remains.
Lineage: Ding et al. 2019, figure 2 and section 3.3 (branch fusion).
"""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ablate.records.trick import Claim, Source, Trick
from ablate.surgery.layers import Gate
from ablate.surgery.net import Net


def folded(square: Tensor, horizontal: Tensor, vertical: Tensor) -> Tensor:
    """`[O, I, k, k]`, `[O, I, 1, k]`, `[O, I, k, 1]` -> `[O, I, k, k]`."""
    before = square.shape[-1] // 2
    across: Tensor = nn.functional.pad(horizontal, (0, 0, before, before))
    down: Tensor = nn.functional.pad(vertical, (before, before, 0, 0))
    return square + across + down


def drawn(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Uniform on ±1 / √fan_in, as torch draws the weights of a convolution."""
    return (2 * torch.rand(shape, generator=generator) - 1) / sqrt(prod(shape[1:]))


class AsymmetricKernels(Gate):
    """Adds trained 1×k and k×1 kernels to the weight `[O, I, k, k]` of a convolution, where the gate is on."""

    def __init__(self, on: bool, weight: Tensor, generator: Generator) -> None:
        super().__init__(on)
        o, i, k, _ = weight.shape
        kernels = drawn((o, i, 1, k), generator), drawn((o, i, k, 1), generator)
        self.horizontal, self.vertical = (
            nn.Parameter(kernel if on else torch.zeros_like(kernel)) for kernel in kernels
        )

    def forward(self, weight: Tensor) -> Tensor:
        return torch.where(self.on > 0, folded(weight, self.horizontal, self.vertical), weight)


def is_square(weight: Tensor) -> bool:
    """Whether the weight is that of a 2-d convolution with a square kernel of odd size above 1."""
    return weight.ndim == 4 and weight.shape[2] == weight.shape[3] > 1 and weight.shape[2] % 2 == 1


def model(net: Net, p: Any) -> None:
    for info, site in net.sites():
        weight = getattr(site.layer, "weight", None)
        if not info.custom and isinstance(weight, Tensor) and is_square(weight):
            site.weight_transforms.append(AsymmetricKernels(p.on, weight, p.generator))
            net.count("acnet")


TRICK = Trick(
    name="acnet",
    title="Asymmetric convolution kernels",
    seam="model",
    applies_to=("spatial model",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="higher accuracy at no cost in inference: the middle of the kernel, its skeleton, is strengthened",
            source=Source(
                "ACNet: Strengthening the Kernel Skeletons for Powerful CNN via Asymmetric Convolution Blocks",
                "Ding, Guo, Ding, Han",
                2019,
                "https://arxiv.org/abs/1908.03930",
            ),
            contested="without the branches' own batch norms, as here, what remains is a different scale and rate of the middle weights",
        ),
    ),
)
