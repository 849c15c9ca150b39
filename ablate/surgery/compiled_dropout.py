"""Dropout of K lanes by compiled code (`compiled.dropout`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ablate.seams.draws import STARTS, windows
from ablate.surgery.compiled_call import call, takes
from ablate.surgery.layout import innermost, is_innermost


def covers(x: Tensor) -> bool:
    """Whether `x` `[K, …]` lies in memory as its elements are numbered (`RandomLayer.keep_stacked`)."""
    return takes(x) and (x.movedim(2, -1) if x.ndim == 5 else x).is_contiguous()


def dropped(x: Tensor, key: Tensor, least: Tensor, scale: Tensor) -> Tensor:
    """x · keep · scale. `key` int32, `least` int16, `scale` float32, all `[K]`."""
    y: Tensor = _Dropped.apply(x, key.contiguous(), least.contiguous(), scale.contiguous())  # type: ignore[no-untyped-call]
    return y


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, key: Tensor, least: Tensor, scale: Tensor) -> Tensor:
        from ablate.compiled import dropout

        ctx.save_for_backward(key, least, scale)
        ctx.innermost = is_innermost(x)
        y, numbers = torch.empty_like(x), x[0].numel()
        tables = windows(numbers, x.device)
        call(dropout.dropped(STARTS), (x, scale, y, key, least, *tables), (len(x), numbers))
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The same again: y is linear in x."""
        own = innermost(gradient) if ctx.innermost else gradient.contiguous()
        return _Dropped.apply(own, *ctx.saved_tensors), None, None, None  # type: ignore[no-untyped-call]
