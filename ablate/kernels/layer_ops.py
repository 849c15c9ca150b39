"""torch's layers as pieces of a chain: which link compiled code has for each, if any."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ablate.kernels.compiled_convolution import ConvolutionOp
from ablate.kernels.compiled_ops import ActivationOp, FlattenOp, GlobalMeanOp, LinearOp, MaxPoolOp, Same
from ablate.kernels.fused import LayerOp

Run = Callable[[Tensor], Tensor]
"""A layer as torch runs it."""


def is_plain_convolution(layer: nn.Module) -> bool:
    return type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def linear_op(
    layer: nn.Linear | nn.Conv2d,
    run: Run,
    tensors: Callable[[], Sequence[Tensor]],
    without: frozenset[int] = frozenset(),
) -> LayerOp:
    """A layer whose weights and biases are what `tensors` gives; the lanes `without` have no bias."""
    biased = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return LayerOp(run, LinearOp(layer.in_features, layer.out_features, biased, without), tensors)
    if not is_plain_convolution(layer) or layer.groups > 1 or layer.dilation != (1, 1):
        return LayerOp(run)
    link = ConvolutionOp((layer.out_channels, layer.in_channels), layer.kernel_size, layer.stride, layer.padding, biased, without)  # type: ignore[arg-type]  # fmt: skip
    return LayerOp(run, link, tensors)


def _affine(layer: nn.Linear | nn.Conv2d, run: Run) -> list[LayerOp]:
    names = ("weight",) if layer.bias is None else ("weight", "bias")
    return [linear_op(layer, run, lambda: [getattr(layer, name) for name in names])]


def _pointwise(layer: nn.Module, run: Run) -> list[LayerOp]:
    return [LayerOp(run, ActivationOp(Same(layer)))]


def _largest(layer: nn.MaxPool2d, run: Run) -> list[LayerOp]:
    window, stride, padding, dilation = (
        size if isinstance(size, tuple) else (size, size)
        for size in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    )
    beside = window == stride and padding == (0, 0) and dilation == (1, 1)
    return [
        LayerOp(run, MaxPoolOp(window) if beside and not (layer.ceil_mode or layer.return_indices) else None)
    ]


def _mean(layer: nn.AdaptiveAvgPool2d, run: Run) -> list[LayerOp]:
    return [LayerOp(run, GlobalMeanOp() if layer.output_size in (1, (1, 1)) else None)]


def _flat(layer: nn.Flatten, run: Run) -> list[LayerOp]:
    return [LayerOp(run, FlattenOp() if (layer.start_dim, layer.end_dim) == (1, -1) else None)]


LAYER_OPS: Mapping[type[nn.Module], Callable[[Any, Run], list[LayerOp]]] = {
    nn.Linear: _affine,
    nn.Conv2d: _affine,
    nn.Flatten: _flat,
    nn.Identity: lambda layer, run: [],
    nn.MaxPool2d: _largest,
    nn.AdaptiveAvgPool2d: _mean,
    **dict.fromkeys((nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid), _pointwise),
}
