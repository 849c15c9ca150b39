"""Per-lane values in a shape that broadcasts against activations."""

from __future__ import annotations

from torch import Tensor


def by_lane(value: Tensor, x: Tensor) -> Tensor:
    """`[K]` against `x` `[K, …]`."""
    return value.reshape(-1, *[1] * (x.ndim - 1))


def by_channel(value: Tensor, x: Tensor) -> Tensor:
    """`[K, C]` against `x` `[K, B, C, …]`."""
    return value.view(len(value), 1, -1, *[1] * (x.ndim - 3))
