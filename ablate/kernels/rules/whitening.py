"""`IterNorm`: lanes of any iterations, momentum and ε at once."""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.kernels.registry import register_stacked
from ablate.kernels.rules.norms import SMALL
from ablate.kernels.stacked_whitening import whitened
from ablate.surgery.whitening import IterNorm


def fits(layer: IterNorm, x: Tensor) -> bool:
    """Whether lanes of activations `x` `[K, B, C, …]` are whitened together: in one type, and where threads do not divide sums."""
    same = x.dtype == layer.weight.dtype and not torch.is_autocast_enabled(x.device.type)
    return same and (x.device.type != "cpu" or torch.get_num_threads() == 1 or x[0].numel() <= SMALL)


@register_stacked(IterNorm, fits=fits, tensors_only=True)
def whitening(layer: IterNorm, x: Tensor) -> Tensor:
    """Stacked rule of `IterNorm`."""
    layer.check(x[0])
    return whitened(layer, x)
