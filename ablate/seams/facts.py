"""What a trick may know about the task and the length of the training, besides its settings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Facts:
    """`class_counts`: training examples of each class, float32 `[C]`; None for regression. `total_steps`: of the whole
    training; `steps_per_epoch`: of one epoch. `embeddings`: names of the tables of embedding layers."""

    class_counts: Tensor | None = None
    total_steps: int = 1
    steps_per_epoch: int = 1
    embeddings: tuple[str, ...] = ()
