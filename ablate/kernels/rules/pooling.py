"""Pooling: the examples of all lanes as one batch."""

from __future__ import annotations

from torch import Tensor, nn

from ablate.kernels.compiled_op import LayerOp
from ablate.kernels.compiled_ops import GlobalMeanOp, MaxPoolOp
from ablate.kernels.functional_rules import over_examples
from ablate.kernels.registry import Eager, register_compiled, register_stacked


@register_stacked(
    nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
def pooled(layer: nn.Module, x: Tensor) -> Tensor:
    """Stacked rule of pooling layers."""
    return over_examples(layer)(x)


@register_compiled(nn.MaxPool2d)
def compiled_max_pool(layer: nn.MaxPool2d, eager: Eager) -> list[LayerOp]:
    """Compiled rule of max pooling with disjoint windows."""
    window, stride, padding, dilation = (
        size if isinstance(size, tuple) else (size, size)
        for size in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    )
    disjoint = window == stride and padding == (0, 0) and dilation == (1, 1)
    plain = disjoint and not (layer.ceil_mode or layer.return_indices)
    return [LayerOp(eager, MaxPoolOp(window) if plain else None)]


@register_compiled(nn.AdaptiveAvgPool2d)
def compiled_mean(layer: nn.AdaptiveAvgPool2d, eager: Eager) -> list[LayerOp]:
    """Compiled rule of global average pooling."""
    return [LayerOp(eager, GlobalMeanOp() if layer.output_size in (1, (1, 1)) else None)]
