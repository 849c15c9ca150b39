"""`nn.Conv2d` on a CPU. On other devices the grouped convolutions of vmap are faster, so it has no rule there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ablate.kernels.compiled_convolution import ConvolutionOp
from ablate.kernels.compiled_op import LayerOp
from ablate.kernels.lane_convolution import convolved, is_plain_convolution
from ablate.kernels.registry import Eager, register_compiled, register_stacked
from ablate.kernels.rules.linear import weights_of


def runs_by_lane(layer: nn.Module, x: Tensor) -> bool:
    """Whether the stacked rule applies: a plain 2-d convolution on a CPU."""
    return is_plain_convolution(layer) and x.device.type == "cpu"


@register_stacked(nn.Conv2d, fits=runs_by_lane)
def convolution(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Stacked rule of convolutions: `[K, B, C, H, W]` -> `[K, B, O, H', W']`."""
    return convolved(layer, x, layer.weight, layer.bias)


@register_compiled(nn.Conv2d)
def compiled_convolution(layer: nn.Conv2d, eager: Eager) -> list[LayerOp]:
    """Compiled rule of convolutions."""
    return [convolution_op(layer, eager, lambda: weights_of(layer))]


def convolution_op(
    layer: nn.Conv2d,
    eager: Eager,
    tensors: Callable[[], Sequence[Tensor]],
    without: frozenset[int] = frozenset(),
) -> LayerOp:
    """`layer` with the weights and biases that `tensors` returns; the lanes `without` have no bias."""
    if not is_plain_convolution(layer) or layer.groups > 1 or layer.dilation != (1, 1):
        return LayerOp(eager)
    op = ConvolutionOp((layer.out_channels, layer.in_channels), layer.kernel_size, layer.stride, layer.padding, layer.bias is not None, without)  # type: ignore[arg-type]  # fmt: skip
    return LayerOp(eager, op, tensors)
