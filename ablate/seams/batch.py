"""A batch, for K lanes at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """What a data trick changes and the model is fed.

    `x` `[K, B, …]`; `target` float32: class probabilities `[K, B, C]` (one-hot unless a trick softened
    them) or values `[K, B, D]`; `index` int64 `[K, B]`: the examples' numbers in the training split.
    """

    x: Tensor
    target: Tensor
    index: Tensor

    def replaced(self, **changes: Tensor) -> Batch:
        return replace(self, **changes)
