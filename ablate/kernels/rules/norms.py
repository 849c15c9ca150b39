"""The norm layers of surgery: small ones for all lanes at once, large ones lane by lane with torch's own functions.

The size of one lane decides. In a Switch, lanes may have different norms, or none (`rules/switch.py`).
"""

from __future__ import annotations

from torch import Tensor

from ablate.kernels.registry import register_stacked
from ablate.kernels.stacked_norms import normed, tensors_of
from ablate.surgery.norms import (
    BatchNorm,
    ExtendedBatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Norm,
    RootMeanSquareNorm,
)

NORM_LAYERS = (BatchNorm, ExtendedBatchNorm, GroupNorm, InstanceNorm, LayerNorm, RootMeanSquareNorm)
SMALL = 2**14
"""Elements of one lane's activations up to which lanes share calls; above it, the overhead of a call matters little."""
CHANNELS = 256
"""With more channels, the products that average over groups would take most of the time."""


def fits(layer: Norm, x: Tensor) -> bool:
    """Whether lanes of activations `x` `[K, B, C, …]` are standardised together."""
    small = x.device.type != "cpu" or x[0].numel() <= SMALL
    grouped = "channels_per_group" in layer.settings
    return small and not layer.per_position and (not grouped or x.shape[2] <= CHANNELS)


@register_stacked(*NORM_LAYERS, fits=fits, tensors_only=True)
def norm(layer: Norm, x: Tensor) -> Tensor:
    """Stacked rule of the norm layers."""
    layer.check(x[0])
    return normed(layer, x, tensors_of(layer))
