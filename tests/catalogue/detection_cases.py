"""Random and degenerate boxes, and non-maximum suppression as its definition reads, in Python's floats."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

DEGENERATE = [
    [2.0, 2.0, 6.0, 6.0], [2.0, 2.0, 6.0, 6.0], [6.0, 2.0, 9.0, 6.0], [3.0, 3.0, 3.0, 5.0],
    [4.0, 4.0, 4.0, 4.0], [5.0, 5.0, 3.0, 7.0], [2.0, 2.0, 4.0, 6.0], [0.0, 0.0, 10.0, 10.0],
]  # fmt: skip
"""Identical, touching, empty, of negative size, half of another, around all."""


def overlap(a: list[float], b: list[float]) -> float:
    def size(box: list[float]) -> float:
        return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)

    shared = size([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])
    union = size(a) + size(b) - shared
    return shared / union if union > 0 else 0.0


def predictions(seed: int, places: int = 16, classes: int = 2) -> Tensor:
    """`[1, 3, A, 7 + C]` float64: three images."""
    random = np.random.default_rng(seed)
    low = random.uniform(0, 8, (3, places, 2))
    boxes = np.concatenate([low, low + random.uniform(-1, 8, (3, places, 2))], 2)
    boxes[0, : len(DEGENERATE)] = DEGENERATE
    rest = np.ones((3, places, 3))
    return torch.tensor(np.concatenate([boxes, rest, random.normal(size=(3, places, classes))], 2))[None]


def suppressed(image: Tensor, decay: Callable[[float], float]) -> list[float]:
    """The factors of the scores of one image `[A, 7 + C]`."""
    rows = image.tolist()
    label = [row[7:].index(max(row[7:])) for row in rows]
    score = [1 / (1 + math.exp(-max(row[7:]))) for row in rows]
    factor, left = [1.0] * len(rows), set(range(len(rows)))
    while left:
        best = max(left, key=lambda i: (score[i] * factor[i], -i))
        left.remove(best)
        for other in left:
            if label[other] == label[best]:
                factor[other] *= decay(overlap(rows[best][:4], rows[other][:4]))
    return factor
