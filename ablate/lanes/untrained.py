"""Detects lanes whose parameters have not moved at all: a run in which nothing was trained is not complete."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ablate.records.run import Run
from ablate.seams.tensors import LaneTensors


class Untrained:
    """The initial weights of the runs whose parameters have not moved yet; usually empty after the first epoch."""

    def __init__(self) -> None:
        self.initial: dict[str, Tensor] = {}

    def begin(self, runs: Sequence[Run], weights: LaneTensors) -> None:
        """`weights`: the initial ones of `runs`, in their order."""
        self.initial |= {run.identity: row.clone() for run, row in zip(runs, weights.flat, strict=True)}

    def update(self, runs: Sequence[Run], weights: LaneTensors) -> None:
        """Forget the runs that have moved by now."""
        for run, row in zip(runs, weights.flat, strict=True):
            if run.identity in self.initial and not torch.equal(self.initial[run.identity], row):
                del self.initial[run.identity]

    def __contains__(self, run: Run) -> bool:
        return run.identity in self.initial
