"""Depthwise separable convolutions: a filter for each channel, then a 1×1 convolution that mixes channels, in place of one full kernel.

    y_o = b_o + Σ_i P_oi (D_i ∗ x_i)

Shapes: x is one lane's feature maps `[B, I, …]`; D is `[I, 1, k, …]`, P `[O, I, 1, …]`, b `[O]`; I k² + I O weights in place of I O k². Stride, padding and dilation are
those of the convolution that is replaced, and act in D; both are drawn as torch draws convolutions. Replaced are hidden convolutions with a kernel larger than one,
without groups, on more than one channel. Nothing stands between the two (MobileNet has a norm and ReLU there), so that the pair is
a convolution of fewer degrees of freedom and tricks around it act as around any other.
Lineage: Howard et al. 2017, section 3.1.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ablate.records.trick import Claim, Source, Trick
from ablate.surgery.layer_types import CONVOLUTIONS
from ablate.surgery.net import Net
from ablate.surgery.switch import Switch


class DepthwiseSeparable(nn.Module):
    """A depthwise and a pointwise convolution in the place of `layer`: the same shapes."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, generator: Generator) -> None:
        super().__init__()
        kind: Any = type(layer)
        channels = layer.in_channels
        self.depthwise = kind(
            channels, channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation, channels, bias=False,
            padding_mode=layer.padding_mode,
        )  # fmt: skip
        self.pointwise = kind(channels, layer.out_channels, 1, bias=layer.bias is not None)
        for part in (self.depthwise, self.pointwise):
            bound = prod(part.weight.shape[1:]) ** -0.5
            for parameter in part.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise(self.depthwise(x))
        return y


def is_separable(layer: nn.Module) -> bool:
    """Whether a convolution has something to separate."""
    return (
        isinstance(layer, CONVOLUTIONS)
        and layer.groups == 1
        and layer.in_channels > 1
        and prod(layer.kernel_size) > 1
    )


def model(net: Net, p: Any) -> None:
    for info, site in net.sites():
        layer = site.layer
        if not info.custom and is_separable(layer):
            assert isinstance(layer, CONVOLUTIONS)
            with torch.random.fork_rng(devices=[]):
                separable = DepthwiseSeparable(layer, p.generator)
            switch = Switch(nn.Identity(), shape=info.output)
            switch.add("depthwise_separable", separable, p.on)
            site.layer = switch
            net.count("depthwise_separable")


TRICK = Trick(
    name="depthwise_separable",
    title="Depthwise separable convolutions",
    seam="model",
    lane=False,
    applies_to=("convolution",),
    conflicts=("weight", "acnet", "deformable_conv"),
    claims=(
        Claim(
            metric="memory",
            direction="down",
            statement="a ninth to an eighth of the weights and multiplications of 3×3 convolutions",
            source=Source(
                "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
                "Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto, Adam",
                2017,
                "https://arxiv.org/abs/1704.04861",
            ),
            contested="of a training step the activations take most of the memory, and there are more of them",
        ),
        Claim(
            metric="accuracy",
            direction="same",
            statement="little is lost: 70.6 % on ImageNet with 4.2 million weights",
            source=Source(
                "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
                "Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto, Adam",
                2017,
                "https://arxiv.org/abs/1704.04861",
            ),
        ),
    ),
)
