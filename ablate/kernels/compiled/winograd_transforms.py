"""Winograd transforms F(4×4, 3×3) as exact fractions (Lavin & Gray 2016, arXiv 1509.09308), cut to maps of one tile.

Points are reciprocal with changed signs, as Barabasz et al. 2018 (arXiv 1803.10986) advise: the root mean square error is 3.3 times
oneDNN's; with Lavin & Gray's 0, ±1, ±2 it is 7 times (16 channels, 4×4 maps, normal data).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import prod

POINTS = (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2))
Rows = Sequence[Sequence[float]]


@dataclass(frozen=True)
class TileTransform:
    """Transforms for a map of one tile, by axis: Bᵀ (`input_rows` `[6, H]`, `input_columns` `[6, W]`), Aᵀ (`output_rows` `[H', 6]`,
    `output_columns` `[W', 6]`), G (`kernel` `[6, 3]`)."""

    input_rows: Rows
    input_columns: Rows
    output_rows: Rows
    output_columns: Rows
    kernel: Rows

    @property
    def input_positions(self) -> int:
        """Positions of an input map."""
        return len(self.input_rows[0]) * len(self.input_columns[0])

    @property
    def output_positions(self) -> int:
        """Positions of an output map."""
        return len(self.output_rows) * len(self.output_columns)


@cache
def tile_of(height: int, width: int, padding: tuple[int, int]) -> TileTransform:
    """The transforms for a map of that size, at most 6 with its padding: columns of Bᵀ that meet padding and rows of Aᵀ beyond the output are left out."""
    input_transform, kernel, output_transform = toom_cook()
    axes = list(zip((height, width), padding, strict=True))
    inputs = [tuple(row[pad : pad + side] for row in input_transform) for side, pad in axes]
    outputs = [output_transform[: side + 2 * pad - 2] for side, pad in axes]
    return TileTransform(inputs[0], inputs[1], outputs[0], outputs[1], kernel)


def toom_cook() -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Bᵀ `[6, 6]`, G `[6, 3]`, Aᵀ `[4, 6]` of F(4, 3) from POINTS and infinity (Barabasz et al. 2018, algorithm 1)."""
    input_transform: list[tuple[float, ...]] = []
    kernel: list[tuple[float, ...]] = []
    for point in POINTS:
        others = [other for other in POINTS if other != point]
        input_transform.append((*map(float, _polynomial_with_roots(others)), 0.0))
        scale = prod(point - other for other in others)
        kernel.append(tuple(float(point**power / scale) for power in range(3)))
    input_transform.append(tuple(map(float, _polynomial_with_roots(POINTS))))
    kernel.append((0.0, 0.0, 1.0))
    output = tuple((*(float(point**power) for point in POINTS), float(power == 3)) for power in range(4))
    return tuple(input_transform), tuple(kernel), output


def _polynomial_with_roots(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients of Π (t − root), lowest power first."""
    coefficients = [Fraction(1)]
    for root in roots:
        pairs = zip([Fraction(0), *coefficients], [*coefficients, Fraction(0)], strict=True)
        coefficients = [low - root * high for low, high in pairs]
    return coefficients
