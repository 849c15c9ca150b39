"""The time of training by phase."""

from __future__ import annotations

import time

import torch

PHASES = ("build", "data", "forward", "backward", "update", "evaluation")
"""`forward` holds the loss and whatever an objective trick adds (the first gradient of adversarial training, say)."""


class Clock:
    """Adds up seconds between laps. `waits`: for the device at every lap, without which a GPU's time cannot be told
    apart (and which slows it down). `slow`: in words, what took longer than it needs to.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.waits = False
        self.slow: set[str] = set()
        self._last = time.perf_counter()

    def begin(self) -> None:
        """The next lap counts from here."""
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """What passed since the last lap was `phase`."""
        if self.waits and torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[phase] += now - self._last
        self._last = now

    def take(self) -> dict[str, float]:
        """The seconds so far, and begin at zero."""
        totals, self.seconds = self.seconds, dict.fromkeys(PHASES, 0.0)
        return totals
