"""A training step that was captured once and is replayed (`cuda_graph`)."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class StepReplay(Protocol):
    """A captured step that can be replayed."""

    def step(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Train on the examples `index` `[K, B]`; returns what `Trainer.train_on` does."""
        ...
