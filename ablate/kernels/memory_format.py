"""How the values of K lanes lie in memory: feature maps `[K, B, C, H, W]` may have their channels innermost.

Operations on tensors that lie differently may round differently, so that a lane's layout must not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class _Laid(torch.autograd.Function):
    """The identity, whose gradient lies in memory as the value does.

    Operations on tensors that lie in memory differently may round differently, and in which way a gradient comes must
    not depend on a lane's neighbours.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.innermost = is_innermost(x)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return innermost(gradient) if ctx.innermost else gradient.contiguous()


def match_grad_layout(x: Tensor) -> Tensor:
    if x.ndim != 5:
        return x  # vectors lie in one way only
    y: Tensor = _Laid.apply(x)  # type: ignore[no-untyped-call]
    return y


def is_innermost(x: Tensor) -> bool:
    """Whether these are feature maps `[K, B, C, H, W]` with the channels innermost in memory."""
    return x.ndim == 5 and x.stride(2) == 1


def innermost(x: Tensor) -> Tensor:
    """`[K, B, C, H, W]` with the channels innermost in memory."""
    k, b, c, h, w = x.shape
    if c == 1:  # torch takes such a tensor for both layouts: its strides have to be made to say which
        return x.reshape(k, b, h, w, 1).permute(0, 1, 4, 2, 3)
    return x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def match_layout(x: Tensor, like: Tensor) -> Tensor:
    """`x`, in memory as `like` is."""
    return innermost(x) if is_innermost(like) else x.contiguous()


def together(lanes: Sequence[Tensor], like: Tensor, *, cat: bool = False) -> Tensor:
    """The lanes' `[B, …]` (with `cat`: several lanes' `[k, B, …]`) as `[K, B, …]`, in memory as `like` is."""
    join = torch.cat if cat else torch.stack
    if not is_innermost(like) or lanes[0].ndim != 4 + cat:
        return join(list(lanes))
    return join([one.movedim(-3, -1) for one in lanes]).movedim(-1, -3)


def apart(x: Tensor, lengths: list[int]) -> Sequence[Tensor]:
    """Neighbouring lanes in parts of these lengths; the gradient lies in memory as `x` does."""
    if not is_innermost(x):
        return torch.split(x, lengths)
    inside = torch.split(x.movedim(2, -1), lengths)
    return [part.movedim(-1, 2) for part in inside]
