"""Deformable convolution: each tap of the kernel looks where a second convolution, on the same input, says.

    y_o(p) = b_o + Σ_n W_on x(p + p_n + Δp_n(p)),    Δp = a convolution of x with the same kernel size, which begins at zero

Shapes: x is one lane's feature maps `[B, I, H, W]`, y is `[B, O, H', W']`; p_n are the n = 1 … k² places of the kernel, Δp is `[B, 2 k², H', W']` (down, right), in pixels; x between
pixels is bilinear, and zero outside the map. The offsets begin at zero: the model begins as it was, but for rounding. It acts on hidden two-dimensional convolutions with
a kernel larger than one, without groups and padded with zeros.
Lineage: Dai et al. 2017, equations 2 to 4; without the modulation of its second version.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.records.trick import Claim, Source, Trick
from ablate.surgery.net import Net
from ablate.surgery.switch import Switch


def sampled(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Bilinear values of `x` `[B, C, H, W]` at `rows`, `columns` `[B, P]` in pixels, zero outside: `[B, C, P]`."""
    h, w = x.shape[2:]
    flat = x.flatten(2)
    top, left = rows.detach().floor(), columns.detach().floor()
    total = torch.zeros_like(flat[:, :, :1])
    for down in (0, 1):
        for right in (0, 1):
            y, z = top + down, left + right
            weight = (1 - (rows - y).abs()) * (1 - (columns - z).abs())
            inside = (y >= 0) & (y < h) & (z >= 0) & (z < w)
            place = (y.clamp(0, h - 1) * w + z.clamp(0, w - 1)).long()
            values = flat.gather(2, place[:, None].expand(-1, flat.shape[1], -1))
            total = total + values * torch.where(inside, weight, torch.zeros_like(weight))[:, None]
    return total


class DeformableConv(nn.Module):
    """Around `layer`: the same shapes, at first the same function."""

    at_rest = ("offset_weight", "offset_bias")
    """Parameters that are zero where a receptive field is measured: it is that of the kernel, before offsets are learnt."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        channels, taps = layer.in_channels, layer.weight[0, 0].numel()
        self.offset_weight = nn.Parameter(torch.zeros(2 * taps, channels, *layer.weight.shape[2:]))
        self.offset_bias = nn.Parameter(torch.zeros(2 * taps))

    def offsets(self, x: Tensor) -> Tensor:
        """Δp, `[B, 2 k², H', W']`."""
        layer = self.layer
        return F.conv2d(x, self.offset_weight, self.offset_bias, layer.stride, layer.padding, layer.dilation)

    def forward(self, x: Tensor) -> Tensor:
        shift = self.offsets(x)
        batch, _, h, w = shift.shape
        down, right = shift.reshape(batch, -1, 2, h * w).unbind(2)  # each [B, k², H' W']
        rows, columns = self._places(h, w, x)
        taps = sampled(x, rows + down.flatten(1), columns + right.flatten(1))  # [B, I, k² H' W']
        y: Tensor = self.layer.weight.flatten(1) @ taps.reshape(batch, -1, h * w)
        if self.layer.bias is not None:
            y = y + self.layer.bias[:, None]
        return y.reshape(batch, -1, h, w)

    def _places(self, h: int, w: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Row and column of every tap of every output, without shifts, `[1, k² H' W']`; taps outermost."""
        layer = self.layer
        above, left = _padding(layer)

        def along(axis: int, outputs: int, padding: int) -> Tensor:
            """`[taps, outputs]`"""
            across = torch.arange(outputs, dtype=x.dtype, device=x.device) * layer.stride[axis]
            taps = torch.arange(layer.kernel_size[axis], dtype=x.dtype, device=x.device)
            return taps[:, None] * layer.dilation[axis] - padding + across

        whole = (*layer.kernel_size, h, w)
        rows = along(0, h, above)[:, None, :, None].expand(whole)
        columns = along(1, w, left)[None, :, None, :].expand(whole)
        return rows.reshape(1, -1), columns.reshape(1, -1)


def _padding(layer: nn.Conv2d) -> tuple[int, int]:
    """Rows above and columns to the left that the convolution is padded with."""
    if layer.padding == "valid":
        return 0, 0
    if layer.padding == "same":
        padded = layer._reversed_padding_repeated_twice
        return padded[2], padded[0]
    return int(layer.padding[0]), int(layer.padding[1])


def is_deformable(layer: nn.Module) -> bool:
    """Whether the layer can be replaced by a deformable convolution."""
    return (
        isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and layer.weight[0, 0].numel() > 1
    )


def model(net: Net, p: Any) -> None:
    for info, site in net.sites():
        layer = site.layer
        if not info.custom and is_deformable(layer):
            assert isinstance(layer, nn.Conv2d)
            switch = Switch(nn.Identity(), shape=info.output)
            switch.add("deformable_conv", DeformableConv(layer), p.on)
            site.layer = switch
            net.count("deformable_conv")


TRICK = Trick(
    name="deformable_conv",
    title="Deformable convolutions",
    seam="model",
    lane=False,
    applies_to=("spatial model",),
    conflicts=("weight", "acnet", "depthwise_separable"),
    roles=("slow",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="the receptive field follows the size and shape of objects: better semantic segmentation and detection with few more weights",
            source=Source(
                "Deformable Convolutional Networks",
                "Dai, Qi, Xiong, Li, Zhang, Hu, Wei",
                2017,
                "https://arxiv.org/abs/1703.06211",
            ),
            contested="no claim for small images of one object, where there is little to adapt to; several times slower without compiled code",
        ),
    ),
)
