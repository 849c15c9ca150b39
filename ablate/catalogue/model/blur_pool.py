"""Blur pooling: a low-pass filter stands between the maximum and the subsampling of a max pooling layer.

    max pooling with stride s  =  maxima at every position, then every s-th of them
    y = every s-th of (k ∗ m),    m = the maxima at every position,    k = b bᵀ / 4^(size − 1),    b = the binomial coefficients of size − 1

Shapes: x is one lane's feature maps `[B, C, H, W]`, y has the shape that the layer's own output has; k is `[size, size]`, the same for all channels, with the border
reflected. Subsampling alone folds high frequencies onto low ones, and the output changes with a shift of the input by less than s. Replaced are `nn.MaxPool2d` layers with a stride
above one whose maxima form a map larger than the border. Convolutions with a stride are left: the authors blur behind their activation, and a network's `forward`
need not have one there. Average pooling is a low-pass filter already.
Lineage: Zhang 2019, section 3.2, equation 7 (max pooling), with the filters Tri-3, Bin-5 and the binomial one of size 7.
"""

from __future__ import annotations

from math import comb
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.surgery.net import Net


def binomial(size: int) -> Tensor:
    """The filter `[size, size]`; its sum is 1."""
    line = torch.tensor([comb(size - 1, i) for i in range(size)], dtype=torch.float32)
    return line[:, None] * line / line.sum() ** 2


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """A setting of both directions."""
    return (value, value) if isinstance(value, int) else value


class BlurPool(nn.Module):
    """A blurring layer in the place of `layer`: `[B, C, H, W]` -> the same shape as of the layer."""

    kernel: Tensor

    def __init__(self, layer: nn.MaxPool2d, size: int) -> None:
        super().__init__()
        self.window, self.padding, self.dilation = layer.kernel_size, layer.padding, layer.dilation
        self.stride = pair(layer.stride)
        self.border = size // 2
        self.register_buffer("kernel", binomial(size), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        maxima = F.max_pool2d(x, self.window, 1, self.padding, self.dilation)
        channels = maxima.shape[1]
        kernel = self.kernel.to(maxima.dtype).expand(channels, 1, -1, -1)
        bordered = F.pad(maxima, (self.border,) * 4, mode="reflect")
        return F.conv2d(bordered, kernel, stride=self.stride, groups=channels)


def is_blurred(layer: nn.MaxPool2d, given: tuple[int, ...], size: int) -> bool:
    """Whether the layer subsamples inputs of shape `given` `[B, C, H, W]`, and its maxima can be reflected at the border."""
    plain = not (layer.ceil_mode or layer.return_indices)
    if len(given) != 4 or not plain or max(pair(layer.stride)) == 1:
        return False
    lengths = [
        length + 2 * padding - dilation * (window - 1)
        for length, padding, dilation, window in zip(
            given[2:], pair(layer.padding), pair(layer.dilation), pair(layer.kernel_size), strict=True
        )
    ]
    return min(lengths) > size // 2


def model(net: Net, p: Any) -> None:
    for info in net.of(nn.MaxPool2d):
        layer = net.layer(info.path)
        assert isinstance(layer, nn.MaxPool2d)
        if is_blurred(layer, info.input, int(p.size)):
            net.switch(info).add("blur_pool", BlurPool(layer, int(p.size)), p.on)
            net.count("blur_pool")


TRICK = Trick(
    name="blur_pool",
    title="Blur pooling (anti-aliased max pooling)",
    seam="model",
    lane=False,
    parameters=(
        Parameter(
            "size", 3, choices=(3, 5, 7), lane=False, meaning="width of the filter in positions of the maxima"
        ),
    ),
    applies_to=("subsampling",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="outputs change less when the input is shifted, and ImageNet accuracy rises",
            source=Source(
                "Making Convolutional Networks Shift-Invariant Again",
                "Zhang",
                2019,
                "https://arxiv.org/abs/1904.11486",
            ),
            contested="where the place of a feature carries the class, blur loses some of it",
        ),
    ),
)
