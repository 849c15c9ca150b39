"""`nn.Sequential`, `nn.Identity` and `nn.Flatten`."""

from __future__ import annotations

from torch import Tensor, nn

from ablate.kernels.compiled_op import LayerOp
from ablate.kernels.compiled_ops import FlattenOp
from ablate.kernels.memory_format import match_grad_layout
from ablate.kernels.registry import Eager, register_compiled, register_stacked
from ablate.kernels.stacked import stacked


@register_stacked(nn.Sequential)
def sequence(module: nn.Sequential, x: Tensor) -> Tensor:
    """Stacked rule of `nn.Sequential`."""
    for child in module:
        x = stacked(child, x)
    return x


@register_stacked(nn.Identity)
def identity(layer: nn.Identity, x: Tensor) -> Tensor:
    """Stacked rule of `nn.Identity`."""
    return x


@register_compiled(nn.Identity)
def compiled_identity(layer: nn.Identity, eager: Eager) -> list[LayerOp]:
    """Compiled rule of `nn.Identity`: no ops."""
    return []


def _keeps_examples(layer: nn.Flatten, x: Tensor) -> bool:
    return layer.start_dim >= 1


@register_stacked(nn.Flatten, fits=_keeps_examples)
def flattened(layer: nn.Flatten, x: Tensor) -> Tensor:
    """Stacked rule of `nn.Flatten`."""
    end = layer.end_dim + 1 if layer.end_dim >= 0 else layer.end_dim
    return match_grad_layout(x).flatten(layer.start_dim + 1, end)


@register_compiled(nn.Flatten)
def compiled_flatten(layer: nn.Flatten, eager: Eager) -> list[LayerOp]:
    """Compiled rule of `nn.Flatten`."""
    return [LayerOp(eager, FlattenOp() if (layer.start_dim, layer.end_dim) == (1, -1) else None)]
