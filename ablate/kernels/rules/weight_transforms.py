"""`SpectralNorm`: the weights of all lanes at once."""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.kernels.broadcasting import by_lane
from ablate.kernels.registry import register_stacked
from ablate.surgery.spectral_norm import SpectralNorm, normalised, power_iteration


@register_stacked(SpectralNorm)
def spectral_norm(layer: SpectralNorm, weight: Tensor) -> Tensor:
    """Stacked rule of `SpectralNorm`."""
    if layer.training:
        with torch.no_grad():
            u, v = power_iteration(weight.detach().flatten(2), layer.u)
            layer.u.copy_(u)
            layer.v.copy_(v)
    return torch.where(
        by_lane(layer.on, weight) > 0, normalised(weight, layer.u.clone(), layer.v.clone()), weight
    )
