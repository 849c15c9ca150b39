"""`Residual` and `KeptSum`: gates of all lanes at once."""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.kernels.broadcasting import by_lane
from ablate.kernels.memory_format import match_grad_layout, match_layout
from ablate.kernels.registry import register_stacked
from ablate.surgery.layers import KeptSum, Residual


@register_stacked(Residual)
def residual(layer: Residual, x: Tensor, y: Tensor) -> Tensor:
    """Stacked rule of `Residual`."""
    return torch.where(by_lane(layer.on, y) > 0, y + x, y)


@register_stacked(KeptSum)
def kept_sum(layer: KeptSum, total: Tensor, branch: Tensor) -> Tensor:
    """In the memory format of `total`, values and gradients alike, so that later layers round as after a plain sum."""
    other = match_layout(match_grad_layout(branch), total) if total.ndim == 5 else branch
    return torch.where(by_lane(layer.on, total) > 0, total, other)
