"""Activations: all lanes at once where their rounding does not depend on an element's position (`layer_types.EXACT`), or lanes are whole
vectors, else lane by lane."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ablate.kernels.compiled_op import LayerOp
from ablate.kernels.compiled_ops import ActivationOp, Uniform
from ablate.kernels.functional_math import vectorises_alike
from ablate.kernels.memory_format import match_grad_layout, stack_lanes
from ablate.kernels.registry import Eager, register_compiled, register_stacked


@register_stacked(nn.ReLU)
def relu(layer: nn.ReLU, x: Tensor) -> Tensor:
    """Stacked rule of ReLU."""
    return F.relu(x)  # never in place: the input may be needed


@register_stacked(nn.LeakyReLU)
def leaky_relu(layer: nn.LeakyReLU, x: Tensor) -> Tensor:
    """Stacked rule of leaky ReLU."""
    return F.leaky_relu(x, layer.negative_slope)


@register_stacked(nn.ReLU6)
def relu6(layer: nn.ReLU6, x: Tensor) -> Tensor:
    """Stacked rule of ReLU6."""
    return F.relu6(x)


@register_stacked(nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.SELU, nn.Mish, nn.Hardswish, nn.Softplus)
def smooth(layer: nn.Module, x: Tensor) -> Tensor:
    """Stacked rule of the smooth activations: all lanes at once if each rounds as alone, otherwise lane by lane."""
    if getattr(layer, "inplace", False):
        x = x.clone()
    if vectorises_alike(x):
        y: Tensor = layer(x)
        return y
    return stack_lanes([layer(lane) for lane in match_grad_layout(x).unbind(0)], x)


@register_compiled(nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid)
def compiled_activation(layer: nn.Module, eager: Eager) -> list[LayerOp]:
    """Compiled rule of activations."""
    return [LayerOp(eager, ActivationOp(Uniform(layer)))]
