"""`Site`: a linear layer or convolution with the tricks attached to it."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from ablate.kernels.batched_matmul import affine
from ablate.kernels.broadcasting import by_lane
from ablate.kernels.compiled_op import LayerOp
from ablate.kernels.fused import LayerOps
from ablate.kernels.lane_convolution import convolved, is_plain_convolution
from ablate.kernels.registry import Eager, register_compiled, register_stacked
from ablate.kernels.rules.convolution import convolution_op, runs_by_lane
from ablate.kernels.rules.linear import linear_op, weights_of
from ablate.kernels.stacked import layer_ops_of, stacked
from ablate.surgery.layers import Site
from ablate.surgery.torch_layers import is_hooked


def _has_rule(site: Site, x: Tensor) -> bool:
    return not is_hooked(site.layer) and (type(site.layer) is nn.Linear or runs_by_lane(site.layer, x))


@register_stacked(Site, fits=_has_rule)
def site(site: Site, x: Tensor) -> Tensor:
    """Stacked rule of `Site`."""
    y = x
    for module in site.before:
        y = stacked(module, y)
    y = _weighted(site, y)
    for module in _behind(site):
        y = stacked(module, y)
    return y if site.residual is None else stacked(site.residual, x, y)


@register_compiled(Site)
def compiled_site(site: Site, eager: Eager) -> list[LayerOp]:
    """Compiled rule of `Site`."""
    layer = cast(nn.Linear | nn.Conv2d, site.layer)
    if not (type(layer) is nn.Linear or is_plain_convolution(layer)):
        return [LayerOp(eager)]
    gate = None if site.bias_gate is None or layer.bias is None else site.bias_gate.on
    without = frozenset(() if gate is None else (lane for lane, on in enumerate(gate.tolist()) if not on))
    eager_layer, tensors = lambda x: _weighted(site, x), lambda: _tensors(site)
    if isinstance(layer, nn.Linear):
        op = linear_op(layer, eager_layer, tensors, without)
    else:
        op = convolution_op(layer, eager_layer, tensors, without)
    before, after = ([op for module in modules for op in layer_ops_of(module)] for modules in (site.before, _behind(site)))  # fmt: skip
    ops = [*before, op, *after]
    if site.residual is None:
        return ops
    residual, inner = site.residual, LayerOps(ops)
    return [LayerOp(lambda x: stacked(residual, x, inner(x)))]


def _behind(site: Site) -> list[nn.Module]:
    return [*([] if site.norm is None else [site.norm]), *site.after]


def _tensors(site: Site) -> list[Tensor]:
    """The lanes' transformed weights, and their biases, if there are any."""
    weight, *bias = weights_of(cast(nn.Linear | nn.Conv2d, site.layer))
    for transform in site.weight_transforms:
        weight = stacked(transform, weight)
    return [weight, *bias]


def _weighted(site: Site, x: Tensor) -> Tensor:
    """The layer itself, with its transformed weights."""
    weight, *biases = _tensors(site)
    bias = biases[0] if biases else None
    if bias is not None and site.bias_gate is not None:
        bias = bias * by_lane(site.bias_gate.on, bias)
    layer = site.layer
    return convolved(layer, x, weight, bias) if isinstance(layer, nn.Conv2d) else affine(x, weight, bias)
