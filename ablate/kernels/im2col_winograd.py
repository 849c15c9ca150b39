"""Two ways to compute a small convolution of several lanes by products of matrices, and its gradients.

- Patches: every patch of the input is a column (im2col), the layer one product. For few channels in.
- Winograd: F(4x4, 3x3) of Lavin & Gray 2016 (arXiv 1509.09308), for 3x3 kernels and outputs of up to 4x4, one tile. In
  each of 36 points the layer is one product of channels by channels: a quarter of the multiplications.

Maps are `[K, B, C, H, W]`, weights `[K, O, C, h, w]`, biases `[K, O]`. Results are written where the caller says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import prod

import torch
from torch import Tensor

from ablate.kernels.batched_matmul import product

Pair = Sequence[int]
Matrices = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Way:
    """How to compute the layer.

    forward: input, weight, bias, stride, padding, output (written) -> what `backward` wants kept.
    backward: gradient of the output, weight, what was kept, stride, padding, then the gradients of input, weight and
    bias (written; None: not wanted).
    floats: the shapes of a lane's weight and output -> about how many numbers lie between two products.
    """

    forward: Callable[[Tensor, Tensor, Tensor | None, Pair, Pair, Tensor], tuple[Tensor, ...]]
    backward: Callable[
        [Tensor, Tensor, Sequence[Tensor], Pair, Pair, Tensor | None, Tensor | None, Tensor | None], None
    ]
    floats: Callable[[Sequence[int], Sequence[int]], int]


def patches_forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, y: Tensor
) -> tuple[Tensor, ...]:
    """[patches | 1] · [weight | bias], written where the output lies: its channels are innermost in memory."""
    padded, inside = _padded(x, padding)
    inside.copy_(x.transpose(1, 2))
    patches = _patches(padded, weight.shape[3:], stride)
    values = weight[0, 0].numel()
    columns = x.new_empty(len(x), values + (bias is not None), patches.shape[4:].numel())
    columns[:, :values].view(patches.shape).copy_(patches)
    rows = weight.flatten(2)
    if bias is not None:
        columns[:, values] = 1
        rows = torch.cat([rows, bias[..., None]], 2)
    own = _rows(y)
    if len(x) > 1:
        torch.bmm(columns.mT, rows.mT, out=own)
    else:
        own.copy_(product(columns.mT, rows.mT))
    return (columns,)


def patches_backward(
    gradient: Tensor, weight: Tensor, kept: Sequence[Tensor], stride: Pair, padding: Pair,
    to_x: Tensor | None, to_weight: Tensor | None, to_bias: Tensor | None,
) -> None:  # fmt: skip
    own, values = _rows(gradient), weight[0, 0].numel()
    if to_weight is not None or to_bias is not None:
        rows = product(kept[0], own)
        if to_weight is not None:
            to_weight.view(len(weight), -1, values).copy_(rows[:, :values].mT)
        if to_bias is not None:
            to_bias.copy_(rows[:, values])
    if to_x is not None:
        padded, inside = _padded(to_x, padding)
        patches = _patches(padded, weight.shape[3:], stride)
        parts = product(weight.flatten(2).mT, own.mT).view(patches.shape)
        for i in range(patches.shape[2]):
            for j in range(patches.shape[3]):
                patches[:, :, i, j] += parts[:, :, i, j]
        to_x.copy_(inside.transpose(1, 2))


def _rows(maps: Tensor) -> Tensor:
    """`[K, B, C, H, W]` -> `[K, B H W, C]`: the same memory where the channels are innermost."""
    return maps.permute(0, 1, 3, 4, 2).flatten(1, 3)


def _padded(like: Tensor, padding: Pair) -> Matrices:
    """Zeros for maps with their padding, `[K, C, B, H, W]`, and the view on them that leaves the padding out."""
    lanes, examples, channels, height, width = like.shape
    up, left = padding
    padded = like.new_zeros(lanes, channels, examples, height + 2 * up, width + 2 * left)
    return padded, padded[..., up : up + height, left : left + width]


def _patches(padded: Tensor, kernel: Pair, stride: Pair) -> Tensor:
    """`[K, C, B, H, W]` seen as `[K, C, h, w, B, H', W']`: at each place of the kernel, what it meets."""
    windows = padded.unfold(3, kernel[0], stride[0]).unfold(4, kernel[1], stride[1])
    return windows.permute(0, 1, 5, 6, 2, 3, 4)


def winograd_forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, y: Tensor
) -> tuple[Tensor, ...]:
    """Y = Aᵀ [Σ (G w Gᵀ) ⊙ (Bᵀ x B)] A, the sum over channels; tiles are kept as `[K, 36, B, C]`."""
    lanes, examples, channels, height, width = x.shape
    into, out, kernel = transforms(height, width, tuple(padding))
    tiles = _transformed(_packed(x), into, (height, width)).view(lanes * 36, examples, channels)
    points = product(kernel.expand(lanes, -1, -1), weight.reshape(lanes, -1, 9).mT)
    points = points.view(lanes * 36, -1, channels)
    sums = torch.bmm(tiles, points.mT).view(lanes, 36 * examples, -1)
    _unpack(_transformed(sums, out, (6, 6)), y, bias)
    return tiles, points


def winograd_backward(
    gradient: Tensor, weight: Tensor, kept: Sequence[Tensor], stride: Pair, padding: Pair,
    to_x: Tensor | None, to_weight: Tensor | None, to_bias: Tensor | None,
) -> None:  # fmt: skip
    (tiles, points), lanes, examples = kept, len(gradient), gradient.shape[1]
    height, width = (side - 2 * pad + 2 for side, pad in zip(gradient.shape[3:], padding, strict=True))
    into, out, kernel = transforms(height, width, tuple(padding))
    own = _packed(gradient)
    sums = _transformed(own, _transposed(out), gradient.shape[3:]).view(lanes * 36, examples, -1)
    if to_x is not None:
        back = torch.bmm(sums, points).view(lanes, 36 * examples, -1)
        _unpack(_transformed(back, _transposed(into), (6, 6)), to_x)
    if to_weight is not None:
        back = torch.bmm(sums.mT, tiles).view(lanes, 36, -1)
        to_weight.view(lanes, -1, 9).copy_(product(kernel.mT.expand(lanes, -1, -1), back).mT)
    if to_bias is not None:
        to_bias.copy_(own.sum(1))


def _transformed(rows: Tensor, matrices: Matrices, size: Pair) -> Tensor:
    """Maps `[K, H W B, C]` (size: H, W), their columns and their rows multiplied by matrices: `[K, H' W' B, C]`."""
    lanes, channels = len(rows), rows.shape[-1]
    down, across = matrices
    x = rows.view(lanes * size[0], size[1], -1)
    x = product(across.expand(len(x), -1, -1), x).view(lanes, size[0], -1)
    return product(down.expand(lanes, -1, -1), x).view(lanes, -1, channels)


def _transposed(matrices: Matrices) -> Matrices:
    return matrices[0].mT, matrices[1].mT


@cache
def transforms(height: int, width: int, padding: tuple[int, int]) -> tuple[Matrices, Matrices, Tensor]:
    """For a map of one tile: Bᵀ (`[6, H]`, `[6, W]`), Aᵀ (`[H', 6]`, `[W', 6]`), G ⊗ G `[36, 9]`.

    The columns of Bᵀ that would meet padding, and the rows of Aᵀ beyond the output, are left out.
    """
    into, kernel, out = (torch.tensor(rows, dtype=torch.float64) for rows in toom_cook())
    sides = list(zip((height, width), padding, strict=True))
    down, across = (into[:, pad : pad + side].float() for side, pad in sides)
    up, left = (out[: side + 2 * pad - 2].float() for side, pad in sides)
    return (down, across), (up, left), torch.kron(kernel, kernel).float()


# Reciprocal points with changed signs, as Barabasz et al. 2018 (arXiv 1803.10986) advise. Root mean square error
# 3.3 times oneDNN's; with 0, ±1, ±2, which Lavin & Gray take, 7 times (16 channels, 4x4 maps, normal data).
POINTS = (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2))
_Rows = list[list[float]]


def toom_cook() -> tuple[_Rows, _Rows, _Rows]:
    """Bᵀ `[6, 6]`, G `[6, 3]`, Aᵀ `[4, 6]` of F(4, 3) from POINTS and infinity (Barabasz et al. 2018, algorithm 1)."""
    into: _Rows = []
    kernel: _Rows = []
    for point in POINTS:
        others = [other for other in POINTS if other != point]
        into.append([*map(float, _with_roots(others)), 0.0])
        scale = prod(point - other for other in others)
        kernel.append([float(point**power / scale) for power in range(3)])
    into.append([*map(float, _with_roots(POINTS))])
    kernel.append([0.0, 0.0, 1.0])
    out = [[*(float(point**power) for point in POINTS), float(power == 3)] for power in range(4)]
    return into, kernel, out


def _with_roots(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients of the product of all (t - root), that of the lowest power first."""
    found = [Fraction(1)]
    for root in roots:
        found = [
            low - root * high for low, high in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)
        ]
    return found


def _packed(x: Tensor) -> Tensor:
    """`[K, B, C, H, W]` -> `[K, H W B, C]`."""
    return x.permute(0, 3, 4, 1, 2).contiguous().view(len(x), -1, x.shape[2])


def _unpack(rows: Tensor, y: Tensor, bias: Tensor | None = None) -> None:
    """`[K, H W B, C]`, to every row of which `bias` `[K, C]` is added, into `y` `[K, B, C, H, W]`."""
    examples, channels, height, width = y.shape[1:]
    x, y = rows.view(-1, height, width, examples, channels).permute(0, 3, 1, 2, 4), y.permute(0, 1, 3, 4, 2)
    if bias is None:
        y.copy_(x)
    else:
        torch.add(x, bias[:, None, None, None], out=y)


WAYS = {
    "patches": Way(
        patches_forward, patches_backward, lambda weight, y: prod(weight[1:]) * y[0] * y[2] * y[3]
    ),
    "winograd": Way(
        winograd_forward, winograd_backward, lambda weight, y: 36 * y[0] * (weight[0] + weight[1])
    ),
}
