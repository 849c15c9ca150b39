"""`nn.Linear`: matrix products batched by lane."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ablate.kernels.batched_matmul import affine
from ablate.kernels.compiled_op import LayerOp
from ablate.kernels.compiled_ops import LinearOp
from ablate.kernels.registry import Eager, register_compiled, register_stacked


@register_stacked(nn.Linear)
def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """Stacked rule of linear layers: `[K, B, …, I]` -> `[K, B, …, O]`."""
    return affine(x, layer.weight, layer.bias)


@register_compiled(nn.Linear)
def compiled_linear(layer: nn.Linear, eager: Eager) -> list[LayerOp]:
    """Compiled rule of linear layers."""
    return [linear_op(layer, eager, lambda: weights_of(layer))]


def linear_op(
    layer: nn.Linear,
    eager: Eager,
    tensors: Callable[[], Sequence[Tensor]],
    without: frozenset[int] = frozenset(),
) -> LayerOp:
    """`layer` with the weights and biases that `tensors` returns; the lanes `without` have no bias."""
    biased = layer.bias is not None
    return LayerOp(eager, LinearOp(layer.in_features, layer.out_features, biased, without), tensors)


def weights_of(layer: nn.Linear | nn.Conv2d) -> list[Tensor]:
    """The weight, and the bias if there is one."""
    return [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
