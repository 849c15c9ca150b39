"""The norm layers of surgery on the stacked tensors of K lanes of one kind."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ablate.kernels.broadcasting import by_channel
from ablate.kernels.standardize import standardized, standardized_eager
from ablate.surgery.norms import BatchNorm, Norm


def tensors_of(layer: Norm) -> dict[str, Tensor]:
    held = [*layer._parameters.items(), *layer._buffers.items()]
    return {name: tensor for name, tensor in held if tensor is not None}


def normed(layer: Norm, x: Tensor, own: Mapping[str, Tensor]) -> Tensor:
    """`x` `[K, B, C, …]` through lanes of `layer`'s type with the stacked tensors `own`; running statistics follow."""
    if not isinstance(layer, BatchNorm):
        return standardized(x, own, over_examples=layer.over_examples)[0]
    if not layer.training:
        return _by_running(x, own)
    y, seen, spread = standardized(x, own, over_examples=True)
    mean, variance = own["running_mean"], own["running_var"]
    count = x[0].numel() // x.shape[2]
    share = own["momentum"][:, None].to(mean.dtype)
    mean.mul_(1 - share).add_(share * seen.flatten(1))
    variance.mul_(1 - share).add_(share * spread.flatten(1) * (count / (count - 1)))
    return y


def normed_eager(layer: Norm, x: Tensor, own: Mapping[str, Tensor]) -> Tensor:
    """The same by differentiable operators, without updating running statistics."""
    if isinstance(layer, BatchNorm) and not layer.training:
        return _by_running(x, own)
    return standardized_eager(x, own, over_examples=layer.over_examples)


def _by_running(x: Tensor, own: Mapping[str, Tensor]) -> Tensor:
    variance = own["running_var"]
    scale = own["weight"] * (variance + own["eps"][:, None].to(variance.dtype)).rsqrt()
    y = x * by_channel(scale, x)
    return y + by_channel(own["bias"] - own["running_mean"] * scale, x)
