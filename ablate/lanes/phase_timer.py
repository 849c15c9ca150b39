"""The time of training by phase."""

from __future__ import annotations

import time

import torch

PHASES = ("build", "data", "forward", "backward", "update", "evaluation")
"""`forward` includes the loss and what an objective trick adds (such as the first gradient of adversarial training)."""


class Clock:
    """Accumulates seconds by phase. `waits`: synchronise with the device at every lap, without which a GPU's phases cannot be
    separated (and which slows it down). `slow`: sentences about what was slower than necessary.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.waits = False
        self.slow: set[str] = set()
        self._last = time.perf_counter()

    def begin(self) -> None:
        """Start the next lap."""
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Add the time since the last lap to `phase`."""
        if self.waits and torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[phase] += now - self._last
        self._last = now

    def take(self) -> dict[str, float]:
        """The seconds so far; resets the timer."""
        totals, self.seconds = self.seconds, dict.fromkeys(PHASES, 0.0)
        return totals
