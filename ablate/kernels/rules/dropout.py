"""`Dropout` and `DropBranch`: the masks of all lanes at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.kernels.broadcasting import by_lane
from ablate.kernels.compiled_op import LayerOp
from ablate.kernels.compiled_ops import KEEP_ALL, DropoutOp
from ablate.kernels.registry import Eager, register_compiled, register_stacked
from ablate.seams.draws import keep_masks
from ablate.surgery.layer_types import DROPOUTS
from ablate.surgery.layers import ChannelDropout, DropBranch, Dropout


@register_stacked(Dropout)
def dropout(layer: Dropout, x: Tensor) -> Tensor:
    """Stacked rule of dropout."""
    if not layer.training:
        return x * by_lane(layer.eval_scale, x)
    return x * masks(layer, x.shape).mul_(by_lane(layer.scale, x))


@register_compiled(Dropout)
def compiled_dropout(layer: Dropout, eager: Eager) -> list[LayerOp]:
    """x · (draw ≥ least) · scale, skipped in lanes where that is x."""
    least, scale = layer.least, layer.scale
    if not layer.training:
        least, scale = torch.full_like(least, KEEP_ALL), layer.eval_scale
    active = ((least > KEEP_ALL) | (scale != 1)).tolist()
    if not any(active):
        return []
    return [LayerOp(eager, DropoutOp(active), buffers=lambda: (layer.draw_key(), least, scale))]


@register_stacked(ChannelDropout)
def channel_dropout(layer: ChannelDropout, x: Tensor) -> Tensor:
    """Stacked rule of dropout of whole channels."""
    if not layer.training:
        return x
    kept = keep_masks(layer.draw_key(), layer.least, tuple(x.shape[1:3])) * layer.scale[:, None, None]
    return x * kept.reshape(*x.shape[:3], *[1] * (x.ndim - 3))


@register_compiled(ChannelDropout)
def compiled_channel_dropout(layer: ChannelDropout, eager: Eager) -> list[LayerOp]:
    """Dropout by torch's operators, where a lane drops anything."""
    return [LayerOp(eager)] if layer.training and bool((layer.least > KEEP_ALL).any()) else []


@register_stacked(DropBranch)
def drop_branch(layer: DropBranch, x: Tensor) -> Tensor:
    """Stacked rule of `DropBranch`."""
    if not layer.training:
        return x
    kept = keep_masks(layer.draw_key(), layer.least, (x.shape[1],)) * layer.scale[:, None]
    return x * kept.reshape(*kept.shape, *[1] * (x.ndim - 2))


@register_stacked(*DROPOUTS)
def torch_dropout(layer: nn.Dropout, x: Tensor) -> Tensor:
    """torch's own, where surgery left it: one that draws keeps lanes apart, so that this one does not."""
    if layer.training and layer.p > 0:
        raise RuntimeError("a layer that draws from torch's generator has no lanes")
    return x


@register_compiled(*DROPOUTS)
def compiled_torch_dropout(layer: nn.Dropout, eager: Eager) -> list[LayerOp]:
    """Compiled rule of torch's dropout layers that drop nothing: no ops."""
    return [LayerOp(eager)] if layer.training and layer.p > 0 else []


def masks(layer: Dropout, shape: torch.Size) -> Tensor:
    """`RandomLayer.keep` for K lanes, of `shape` `[K, …]`."""
    if len(shape) != 5:
        return keep_masks(layer.draw_key(), layer.least, tuple(shape[1:]))
    b, c, h, w = shape[1:]
    return keep_masks(layer.draw_key(), layer.least, (b, h, w, c)).movedim(-1, 2)
