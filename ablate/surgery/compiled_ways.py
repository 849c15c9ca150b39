"""Two ways to compute a small convolution of several lanes by compiled code, and its gradients: `compiled.direct`, `compiled.winograd`.

Lanes go one after another, each through what stays in a core's cache; see `small_ways` for what a `Way` is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ablate.surgery import small_ways
from ablate.surgery.compiled_call import call
from ablate.surgery.small_ways import Pair, Way

if TYPE_CHECKING:
    from ablate.compiled.direct import Sizes
    from ablate.compiled.tiles import Grid
    from ablate.compiled.winograd import Tile


def winograd_forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, y: Tensor
) -> tuple[Tensor, ...]:
    x, weight = _rows(x), weight.contiguous()
    module, sizes = _winograd(x, padding)
    run, numbers = module.forward(sizes, x.shape[4], y.shape[2])
    call(run, (x, weight, _bias(bias, y), _rows(y), x.new_empty(numbers)), x.shape[:2])
    return x, weight


def winograd_backward(
    gradient: Tensor, weight: Tensor, kept: Sequence[Tensor], stride: Pair, padding: Pair,
    to_x: Tensor | None, to_weight: Tensor | None, to_bias: Tensor | None,
) -> None:  # fmt: skip
    x, weight = kept
    own = _rows(gradient)
    module, sizes = _winograd(x, padding)
    run, numbers = module.backward(sizes, x.shape[4], own.shape[4])
    to_maps = None if to_x is None else _rows(to_x)
    call(run, (own, x, weight, to_maps, to_weight, to_bias, x.new_empty(numbers)), x.shape[:2])


def direct_forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, y: Tensor
) -> tuple[Tensor, ...]:
    from ablate.compiled import direct

    run, numbers = direct.forward(_sizes(x, weight, stride, padding))
    tensors = (x, weight.contiguous(), _bias(bias, y), _rows(y), x.new_empty(numbers))
    call(run, tensors, (*x.shape[:2], *x.stride()))
    return (x,)


def direct_backward(
    gradient: Tensor, weight: Tensor, kept: Sequence[Tensor], stride: Pair, padding: Pair,
    to_x: Tensor | None, to_weight: Tensor | None, to_bias: Tensor | None,
) -> None:  # fmt: skip
    from ablate.compiled import direct

    (x,) = kept
    if to_weight is not None or to_bias is not None:
        run, numbers = direct.backward(_sizes(x, weight, stride, padding))
        to_weight = weight.new_empty(weight.shape) if to_weight is None else to_weight
        to_bias = weight.new_empty(weight.shape[:2]) if to_bias is None else to_bias
        tensors = (_rows(gradient), x, to_weight, to_bias, x.new_empty(numbers))
        call(run, tensors, (*x.shape[:2], *x.stride()))
    if to_x is not None:  # rarely: such layers are mostly the first
        small_ways.patches_backward(gradient, weight, (), stride, padding, to_x, None, None)


def _rows(maps: Tensor) -> Tensor:
    """`[K, B, C, H, W]` -> `[K, B, H, W, C]`, contiguous: the same memory where the channels are innermost."""
    return maps.permute(0, 1, 3, 4, 2).contiguous()


def _bias(bias: Tensor | None, y: Tensor) -> Tensor:
    return y.new_zeros(len(y), y.shape[2]) if bias is None else bias.contiguous()


@cache
def _tile(height: int, width: int, padding: tuple[int, int]) -> Tile:
    from ablate.compiled.winograd import Tile

    (down, across), (up, left), _ = small_ways.transforms(height, width, padding)
    matrices = (down, across, up, left, torch.tensor(small_ways.toom_cook()[1]))
    return Tile(*(tuple(map(tuple, matrix.tolist())) for matrix in matrices))


@cache
def _grid(height: int, width: int, padding: tuple[int, int]) -> Grid:
    from ablate.compiled.tiles import Grid

    return Grid(_tile(6, 6, (0, 0)), (height, width), padding)


def _winograd(x: Tensor, padding: Pair) -> tuple[Any, Tile | Grid]:
    """The module that convolves maps `[K, B, H, W, C]`, and what it is told of them: of no more than 4×4 outputs, or of several tiles."""
    from ablate.compiled import tiles, winograd

    height, width = x.shape[2:4]
    if all(side + 2 * pad <= 6 for side, pad in zip((height, width), padding, strict=True)):
        return winograd, _tile(height, width, tuple(padding))
    return tiles, _grid(height, width, tuple(padding))


def _sizes(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Sizes:
    from ablate.compiled.direct import Sizes

    out, channels, *kernel = weight.shape[1:]
    pairs = (tuple(pair) for pair in (kernel, stride, padding, x.shape[3:]))
    return Sizes(channels, out, *pairs)  # type: ignore[arg-type]


COMPILED = {
    "direct": Way(direct_forward, direct_backward),
    "tile": Way(winograd_forward, winograd_backward),
}
