"""A batch of K lanes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ablate.seams.draws import Draws


@dataclass(frozen=True, slots=True)
class Batch:
    """The examples of one step: what data tricks transform and the model is trained on.

    `x` `[K, B, …]`; `target` float32: class probabilities `[K, B, C]` (one-hot unless a trick softened
    them) or values `[K, B, D]`; `index` int64 `[K, B]`: positions of the examples in the training split; `draws`: of this
    step, for an objective that draws.
    """

    x: Tensor
    target: Tensor
    index: Tensor
    draws: Draws | None = None

    def replaced(self, **changes: Any) -> Batch:
        """This batch with some fields replaced."""
        return replace(self, **changes)
