"""Norm layers, surgery's and torch's own, on the stacked tensors of K lanes of one kind."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ablate.kernels.broadcasting import by_channel
from ablate.kernels.standardize import Statistics, standardized, standardized_eager
from ablate.kernels.torch_norms import AnyNorm, TorchNorm, constants_of
from ablate.surgery.norms import Norm


def tensors_of(layer: AnyNorm) -> dict[str, Tensor]:
    """The settings of a layer as tensors, and of a norm of surgery the other parameters and buffers too, without absent ones."""
    if isinstance(layer, TorchNorm):
        return constants_of(layer)
    entries = [*layer._parameters.items(), *layer._buffers.items()]
    return {name: tensor for name, tensor in entries if tensor is not None}


def normed(layer: Norm, x: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """`x` `[K, B, C, …]` through lanes of `layer`'s type with the stacked `tensors`; updates running statistics."""
    if not layer.over_examples:
        return standardized(x, tensors, Statistics.of(layer))[0]
    if not layer.training:
        return _by_running(x, tensors)
    y, seen, spread = standardized(x, tensors, Statistics.of(layer))
    mean, variance = tensors["running_mean"], tensors["running_var"].view(len(x), -1)
    count = x[0].numel() // x.shape[2]
    share = tensors["momentum"][:, None].to(mean.dtype)
    mean.mul_(1 - share).add_(share * seen.flatten(1))
    spread = spread.flatten(1)[:, : variance.shape[1]]
    variance.mul_(1 - share).add_(share * spread * (count / (count - 1) if layer.unbiased else 1.0))
    return y


def normed_eager(layer: AnyNorm, x: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """`normed` by differentiable operators, without updating running statistics."""
    if "running_var" in tensors and not layer.training:
        return _by_running(x, tensors)
    return standardized_eager(x, tensors, Statistics.of(layer))


def _by_running(x: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    variance = tensors["running_var"].view(len(x), -1)
    scale = tensors["weight"] * (variance + tensors["eps"][:, None].to(variance.dtype)).rsqrt()
    y = x * by_channel(scale, x)
    return y + by_channel(tensors["bias"] - tensors["running_mean"] * scale, x)
