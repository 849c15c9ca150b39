"""Lanes of different norms, and of none, through one compiled pass (`compiled.norms`), where torch would part them and join them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ablate.compiled import is_used
from ablate.surgery.compiled_ways import call
from ablate.surgery.layout import as_laid, is_innermost

Own = Mapping[str, Tensor]


@runtime_checkable
class Standardising(Protocol):
    """A layer that standardises over groups of `members` neighbouring channels, over the `examples` too or for each by itself."""

    members: int
    examples: bool
    settings: dict[str, float]

    def by_batch(self) -> bool:
        """Whether it does so now, rather than with statistics from before."""
        ...

    def differentiably(self, x: Tensor, own: Own) -> Tensor:
        """y, by operations of which each has a gradient. `own`: the lanes' stacked tensors."""
        ...

    def keep(self, own: Own, mean: Tensor, variance: Tensor, count: int) -> None:
        """What is kept of the statistics `[K, C]` of `count` numbers in training."""
        ...


@dataclass(frozen=True)
class Part:
    """Neighbouring lanes, `count` from `first` on: their layers, one a lane, of one class, and its tensors, stacked. No layers: they are left as they are."""

    first: int
    layers: Sequence[Any]
    own: Own
    count: int

    @property
    def lanes(self) -> slice:
        return slice(self.first, self.first + self.count)


def covers(x: Tensor, layer: nn.Module) -> bool:
    """Whether lanes `x` `[K, B, C, …]` of this layer go through the compiled pass. Hangs on one lane only."""
    if not is_used() or x.device.type != "cpu" or x.dtype != torch.float32 or x.numel() == 0:
        return False
    laid = x.ndim == 3 or (is_innermost(x) and x.shape[2] > 1)
    return laid and isinstance(layer, Standardising) and layer.by_batch()


def standardised(x: Tensor, parts: Sequence[Part]) -> Tensor:
    """`[K, B, C, …]` -> the same shape, every part of the lanes by its own norm."""
    tensors = [part.own[name] for part in parts if part.layers for name in ("weight", "bias")]
    found: tuple[Tensor, Tensor] = _Standardised.apply(x, tuple(parts), *tensors)  # type: ignore[no-untyped-call]
    y, kept = found
    count = x[0].numel() // x.shape[2]
    for part in parts:
        if part.layers and part.layers[0].examples:
            mean, _, variance = kept[part.lanes, 0].unbind(1)
            part.layers[0].keep(part.own, mean, variance, count)
    return y


class _Standardised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, parts: tuple[Part, ...], *tensors: Tensor) -> tuple[Tensor, Tensor]:
        from ablate.compiled import norms

        rows, tensors = _rows(x), tuple(tensor.contiguous() for tensor in tensors)
        run, numbers = norms.forward(rows.shape[3])
        y, kept = torch.empty_like(rows), rows.new_empty(*rows.shape[:2], norms.KEPT, rows.shape[3])
        eps = [layer.settings["eps"] if layer else 0.0 for layer in _layers(parts)]
        table = _table(parts, [tensors[::2], tensors[1::2]])
        call(run, (rows, rows.new_tensor(eps), y, kept, rows.new_empty(numbers), table), rows.shape[:3])
        ctx.save_for_backward(x, kept, *tensors)
        ctx.parts = parts
        ctx.mark_non_differentiable(kept)
        return _maps(y, x), kept

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        x, kept, *tensors = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            again = _differentiably(x, ctx.parts, tensors)
            return _filled(torch.autograd.grad(again, (x, *tensors), gradient, create_graph=True))
        from ablate.compiled import norms

        own, rows = _rows(as_laid(gradient, x)), _rows(x)
        run, numbers = norms.backward(rows.shape[3])
        to_x, to_tensors = torch.empty_like(rows), [torch.zeros_like(tensor) for tensor in tensors]
        table = _table(ctx.parts, [tensors[::2], to_tensors[::2], to_tensors[1::2]])
        call(run, (own, rows, kept, to_x, rows.new_empty(numbers), table), rows.shape[:3])
        return _filled([_maps(to_x, x), *to_tensors])


def _filled(gradients: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """The gradients of x and of the tensors, with none between them for the parts."""
    return gradients[0], None, *gradients[1:]


def _layers(parts: Sequence[Part]) -> list[Any]:
    """Each lane's layer; None: it is left as it is."""
    return [layer for part in parts for layer in (part.layers or [None] * part.count)]


def _table(parts: Sequence[Part], columns: Sequence[Sequence[Tensor]]) -> Tensor:
    """The rows of `compiled.norms.COLUMNS`: int64 `[K, 5]`. `columns`: tensors `[K, C]` whose addresses it holds, one for each part with a norm."""
    from ablate.compiled.norms import BATCH, COLUMNS, EXAMPLE, LEFT

    rows: list[list[int]] = []
    stacks = zip(*columns, strict=True)
    for part in parts:
        if not part.layers:
            rows += [[LEFT, *[0] * (len(COLUMNS) - 1)]] * part.count
            continue
        starts = [(tensor.data_ptr(), 4 * tensor.stride(0)) for tensor in next(stacks)]
        spare = [0] * (len(COLUMNS) - 2 - len(starts))
        for lane, layer in enumerate(part.layers):
            mode = BATCH if layer.examples else EXAMPLE
            rows.append([mode, layer.members, *(first + lane * each for first, each in starts), *spare])
    return torch.tensor(rows, dtype=torch.int64)


def _differentiably(x: Tensor, parts: Sequence[Part], tensors: Sequence[Tensor]) -> Tensor:
    pairs = iter(zip(tensors[::2], tensors[1::2], strict=True))
    done = []
    for part in parts:
        own = x[part.lanes]
        if part.layers:
            weight, bias = next(pairs)
            own = part.layers[0].differentiably(own, {**part.own, "weight": weight, "bias": bias})
        done.append(own)
    return torch.cat(done)


def _rows(x: Tensor) -> Tensor:
    """`[K, B, C, …]` -> `[K, B, P, C]`, contiguous: the same memory where the channels are innermost."""
    return x.unsqueeze(2).contiguous() if x.ndim == 3 else x.permute(0, 1, 3, 4, 2).flatten(2, 3).contiguous()


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    if like.ndim == 3:
        return rows.squeeze(2)
    lanes, examples, channels, *sides = like.shape
    return rows.view(lanes, examples, *sides, channels).permute(0, 1, 4, 2, 3)
