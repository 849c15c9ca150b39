"""The memory format of the values of K lanes: feature maps `[K, B, C, H, W]` may be channels-last.

Operations on tensors of different formats may round differently, so that a lane's format must not depend on the other lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class _MatchGradLayout(torch.autograd.Function):
    """The identity; its gradient gets the value's memory format."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.channels_last = is_channels_last(x)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return to_channels_last(gradient) if ctx.channels_last else gradient.contiguous()


def match_grad_layout(x: Tensor) -> Tensor:
    """`x` unchanged; its gradient gets the memory format of `x`."""
    if x.ndim != 5:
        return x  # only feature maps have several formats
    y: Tensor = _MatchGradLayout.apply(x)  # type: ignore[no-untyped-call]
    return y


def is_channels_last(x: Tensor) -> bool:
    """Whether these are feature maps `[K, B, C, H, W]` in channels-last format."""
    return x.ndim == 5 and x.stride(2) == 1


def to_channels_last(x: Tensor) -> Tensor:
    """`[K, B, C, H, W]` in channels-last format."""
    k, b, c, h, w = x.shape
    if c == 1:  # ambiguous in torch: the strides have to say which format it is
        return x.reshape(k, b, h, w, 1).permute(0, 1, 4, 2, 3)
    return x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def match_layout(x: Tensor, like: Tensor) -> Tensor:
    """`x` in the memory format of `like`."""
    return to_channels_last(x) if is_channels_last(like) else x.contiguous()


def stack_lanes(lanes: Sequence[Tensor], like: Tensor, *, cat: bool = False) -> Tensor:
    """The lanes' `[B, …]` (with `cat`: several lanes' `[k, B, …]`) as `[K, B, …]`, in the memory format of `like`."""
    join = torch.cat if cat else torch.stack
    if not is_channels_last(like) or lanes[0].ndim != 4 + cat:
        return join(list(lanes))
    return join([one.movedim(-3, -1) for one in lanes]).movedim(-1, -3)


def split_lanes(x: Tensor, lengths: list[int]) -> Sequence[Tensor]:
    """Split neighbouring lanes into parts of these lengths; the gradient has the memory format of `x`."""
    if not is_channels_last(x):
        return torch.split(x, lengths)
    parts = torch.split(x.movedim(2, -1), lengths)
    return [part.movedim(-1, 2) for part in parts]
