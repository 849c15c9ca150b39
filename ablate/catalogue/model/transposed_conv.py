"""Transposed convolutions in place of interpolation: a decoder learns how its feature maps are enlarged.

    y = the transposed convolution of x with W `[C, C, k, k]`, stride s, k = 2 s − (s mod 2), padding ⌈(s − 1) / 2⌉

Shapes: x is one lane's feature maps `[B, C, H, W]`, y is `[B, C, s H, s W]`, as of the layer that is replaced (`nn.Upsample` by a whole number s > 1, the same in both
directions). W begins as bilinear interpolation of each channel by itself, so that the model begins nearly as one with such a layer. Where s does not
divide k, outputs overlap unevenly (checkerboard patterns); here it does for even s.
Lineage: Dumoulin & Visin 2016, chapter 4 (the arithmetic); Long et al. 2015, section 3.3 (bilinear beginning).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.records.trick import Claim, Source, Trick
from ablate.surgery.net import Net


def bilinear(size: int) -> Tensor:
    """The kernel `[size, size]` of a bilinear enlargement."""
    factor = (size + 1) // 2
    centre = factor - 1.0 if size % 2 else factor - 0.5
    line = 1 - (torch.arange(size, dtype=torch.float32) - centre).abs() / factor
    return line[:, None] * line


class Upsampling(nn.Module):
    """`[B, C, H, W]` -> `[B, C, s H, s W]`."""

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.scale, self.padding = scale, scale // 2
        kernel = bilinear(2 * scale - scale % 2)
        self.weight = nn.Parameter(torch.eye(channels)[:, :, None, None] * kernel)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.weight, self.bias, self.scale, self.padding)


def scale_of(given: tuple[int, ...], output: tuple[int, ...]) -> int:
    """The factor of an enlargement; 0 where it is no whole number above one, the same in both directions."""
    if len(given) != 4 or output[2] % given[2] or output[3] * given[2] != output[2] * given[3]:
        return 0
    return output[2] // given[2] if output[2] > given[2] else 0


def model(net: Net, p: Any) -> None:
    for info in net.of(nn.Upsample):
        scale = scale_of(info.input, info.output)
        if scale:
            net.switch(info).add("transposed_conv", Upsampling(info.output[1], scale), p.on)
            net.count("transposed_conv")


TRICK = Trick(
    name="transposed_conv",
    title="Transposed convolutions for enlargement",
    seam="model",
    slot="upsample",
    lane=False,
    applies_to=("upsampling",),
    claims=(
        Claim(
            metric="mean_iou",
            direction="up",
            statement="enlargement that is learnt end to end, in place of a fixed interpolation, refines the segmentation",
            source=Source(
                "Fully Convolutional Networks for Semantic Segmentation",
                "Long, Shelhamer, Darrell",
                2015,
                "https://arxiv.org/abs/1411.4038",
            ),
            contested="nearest neighbour and a convolution avoid checkerboard patterns (Odena et al. 2016, doi.org/10.23915/distill.00003)",
        ),
        Claim(
            metric="sliced_wasserstein",
            direction="down",
            statement="a generator learns its own enlargement of feature maps",
            source=Source(
                "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
                "Radford, Metz, Chintala",
                2015,
                "https://arxiv.org/abs/1511.06434",
            ),
            contested="nearest neighbour and a convolution avoid checkerboard patterns (Odena et al. 2016, doi.org/10.23915/distill.00003)",
        ),
    ),
)
