"""`nn.Conv1d`: small ones as a product of windows and weights, large ones lane by lane."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.kernels.functional_rules import linear_product
from ablate.kernels.registry import register_stacked
from ablate.kernels.rules.torch_layers import by_lane

SMALL = 2**14
"""Weights up to which lanes share a product; beyond, torch's own convolution is as fast."""


@register_stacked(nn.Conv1d)
def convolution_1d(layer: nn.Conv1d, x: Tensor) -> Tensor:
    """`[K, B, C, T]` -> `[K, B, O, T']`."""
    weight, bias = layer.weight, layer.bias
    plain = layer.padding_mode == "zeros" and layer.groups == 1
    if not plain or isinstance(layer.padding, str) or x.ndim != 4 or weight[0].numel() > SMALL:
        return by_lane(layer, x)
    (size,), (stride,), (padding,), (dilation,) = (
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
    )
    padded = F.pad(x.mT, (0, 0, padding, padding))  # [K, B, T, C]
    steps = (padded.shape[2] - dilation * (size - 1) - 1) // stride + 1
    starts = range(0, dilation * size, dilation)
    windows = torch.cat([padded[:, :, at : at + (steps - 1) * stride + 1 : stride] for at in starts], -1)
    y = linear_product(windows, weight.transpose(2, 3).flatten(2), bias)
    return y.mT
