"""`Residual`: gates of all lanes at once."""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.kernels.broadcasting import by_lane
from ablate.kernels.registry import register_stacked
from ablate.surgery.layers import Residual


@register_stacked(Residual)
def residual(layer: Residual, x: Tensor, y: Tensor) -> Tensor:
    return torch.where(by_lane(layer.on, y) > 0, y + x, y)
