"""Lanes of different norms, and of none, through one compiled pass (`compiled.norms`), where torch would part them and join them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ablate.surgery.compiled_call import call, takes
from ablate.surgery.layout import as_laid, is_innermost

PARAMETERS = ("weight", "bias")


@runtime_checkable
class Standardising(Protocol):
    """A layer that standardises over groups of `members` neighbouring channels, over the `examples` too or for each by itself.

    Over the examples: in training, and `running_mean` and `running_var` follow by the share `momentum`; else by those.
    """

    training: bool
    members: int
    examples: bool
    settings: dict[str, float]

    def check(self, x: Tensor) -> None:
        """Raises InputError where one lane's `x` `[B, C, …]` cannot be standardised."""
        ...

    def differentiably(self, x: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        """y, by operations of which each has a gradient. `own`: the lanes' stacked tensors."""
        ...


@dataclass(frozen=True)
class Part:
    """Neighbouring lanes, `count` from `first` on, of layers of one class. Their tensors by name: numbers among those that are handed over with
    every call, of which row `row` is the first lane's. No layers: they are left as they are."""

    first: int
    count: int
    layers: Sequence[Any] = ()
    tensors: Mapping[str, int] | None = None
    row: int = 0

    def own(self, held: Sequence[Tensor]) -> dict[str, Tensor]:
        rows = slice(self.row, self.row + self.count)
        return {name: held[number][rows] for name, number in (self.tensors or {}).items()}


class Lanes:
    """What the pass has to know of lanes, worked out once."""

    def __init__(self, parts: Sequence[Part]) -> None:
        from ablate.compiled.norms import BATCH, EXAMPLE, LEFT, STORED

        self.parts = tuple(parts)
        self.normed = [part for part in parts if part.layers]
        rows: list[tuple[int, ...]] = []
        numbers: list[tuple[float, float]] = []
        for part in parts:
            if not part.layers:
                rows += [(LEFT, 0, 0, 0)] * part.count
                numbers += [(0.0, 0.0)] * part.count
            for row, layer in enumerate(part.layers, part.row):
                mode = EXAMPLE if not layer.examples else BATCH if layer.training else STORED
                rows.append((mode, layer.members, self.normed.index(part), row))
                numbers.append((layer.settings["eps"], layer.settings.get("momentum", 0.0)))
        self.table = torch.tensor(rows, dtype=torch.int64)
        self.numbers = torch.tensor(numbers, dtype=torch.float32)


def covers(x: Tensor) -> bool:
    """Whether lanes `x` `[K, B, C, …]` of such layers go through the compiled pass. Hangs on one lane only."""
    return takes(x) and (x.ndim == 3 or (is_innermost(x) and x.shape[2] > 1))


def standardised(x: Tensor, lanes: Lanes, held: Sequence[Tensor]) -> Tensor:
    """`[K, B, C, …]` -> the same shape, every part of the lanes by its own norm; `held` has its tensors."""
    for part in lanes.normed:
        part.layers[0].check(x[0])
    parameters = [held[part.tensors[name]] for part in lanes.normed if part.tensors for name in PARAMETERS]
    y: Tensor = _Standardised.apply(x, lanes, held, *parameters)  # type: ignore[no-untyped-call]
    return y


class _Standardised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lanes: Lanes, held: Sequence[Tensor], *parameters: Tensor) -> Tensor:
        from ablate.compiled import norms

        rows = _rows(x)
        run, numbers = norms.forward(rows.shape[3])
        y, kept = torch.empty_like(rows), rows.new_empty(*rows.shape[:2], norms.KEPT, rows.shape[3])
        tensors = [
            [held[part.tensors[name]] if name in part.tensors else None for name in norms.FORWARD]
            for part in lanes.normed
            if part.tensors
        ]
        call(
            run,
            (rows, y, kept, lanes.numbers, rows.new_empty(numbers), lanes.table, _places(tensors)),
            rows.shape[:3],
        )
        ctx.save_for_backward(x, kept, *parameters)
        ctx.lanes, ctx.held = lanes, held
        return _maps(y, x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, kept, *parameters = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            again = _differentiably(x, ctx.lanes, ctx.held, parameters)
            found = torch.autograd.grad(again, (x, *parameters), gradient, create_graph=True)
            return found[0], None, None, *found[1:]
        from ablate.compiled import norms

        own, rows = _rows(as_laid(gradient, x)), _rows(x)
        run, numbers = norms.backward(rows.shape[3])
        to_x, to = (
            torch.empty_like(rows),
            [torch.zeros_like(one, memory_format=torch.contiguous_format) for one in parameters],
        )
        tensors = [
            [weight, *gradients, None]
            for weight, *gradients in zip(parameters[::2], to[::2], to[1::2], strict=True)
        ]
        room = rows.new_empty(numbers)
        call(
            run,
            (own, rows, kept, to_x, ctx.lanes.numbers, room, ctx.lanes.table, _places(tensors)),
            rows.shape[:3],
        )
        return _maps(to_x, x), None, None, *to


def _places(parts: Sequence[Sequence[Tensor | None]]) -> Tensor:
    """Addresses of the parts' tensors `[K, C]`, and the bytes from a row to the next: int64 `[parts, 8]`."""
    rows = [
        number
        for tensors in parts
        for tensor in tensors
        for number in ((0, 0) if tensor is None else (tensor.data_ptr(), 4 * tensor.stride(0)))
    ]
    return torch.tensor(rows, dtype=torch.int64)


def _differentiably(x: Tensor, lanes: Lanes, held: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    pairs = iter(zip(parameters[::2], parameters[1::2], strict=True))
    done = []
    for part in lanes.parts:
        own = x[part.first : part.first + part.count]
        if part.layers:
            rows = slice(part.row, part.row + part.count)
            given = {name: one[rows] for name, one in zip(PARAMETERS, next(pairs), strict=True)}
            own = part.layers[0].differentiably(own, {**part.own(held), **given})
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
