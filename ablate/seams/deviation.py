"""The scale of a batch's inputs."""

from __future__ import annotations

from torch import Tensor


def deviation(x: Tensor) -> Tensor:
    """Standard deviation of each lane's inputs `[K, B, …]`: `[K, 1, F]` of a table's columns, else `[K, 1, …, 1]`.

    Means are taken over examples and then over the batch, so that no sum is long enough to be split among
    threads, which would make a lane's rounding depend on the number of lanes.
    """
    if x.ndim == 3:
        return (x - x.mean(1, keepdim=True)).square().mean(1, keepdim=True).sqrt()
    inner = tuple(range(2, x.ndim))
    centred = x - x.mean(inner, keepdim=True).mean(1, keepdim=True)
    return centred.square().mean(inner, keepdim=True).mean(1, keepdim=True).sqrt()
