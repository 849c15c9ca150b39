"""Progress in a notebook: one HTML element that is updated in place. Needs only the notebook's IPython."""

from __future__ import annotations

import sys
import time
from html import escape
from typing import Any

from ablate.api.progress import ProgressDisplay

EVERY = 0.3
"""Seconds between updates."""


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


class NotebookProgress(ProgressDisplay):
    """`ProgressDisplay` with the bar as a cell's output, and remarks as lines on standard error."""

    def __init__(self, metric: str, *, higher: bool, quiet: bool = False, unit: str = "") -> None:
        super().__init__(metric, higher=higher, quiet=quiet, unit=unit)
        self.handle: Any = None
        self.drawn = 0.0

    def trained(self, lane_epochs: int) -> None:
        """Update the bar."""
        super().trained(lane_epochs)
        self._draw()

    def finish(self, name: str, seconds: float) -> None:
        """Show the stage as done."""
        self._draw(f"{name}: done in {seconds:.1f} s, {self._counts_text()}")

    def _draw(self, last: str = "") -> None:
        if self.quiet or (not last and time.monotonic() - self.drawn < EVERY):
            return
        self.drawn = time.monotonic()
        text = last or f"{self.name}: {self.done}/{self.total} lane-epochs, {self._counts_text()}"
        value = self.total if last else self.done
        html = f'<progress value="{value}" max="{max(1, self.total)}"></progress> {escape(text)}'
        data = {"text/html": html, "text/plain": text}
        if self.handle is None:
            from IPython.display import display

            self.handle = display(data, raw=True, display_id=True)
        else:
            self.handle.update(data, raw=True)

    def _line(self, line: str, *, always: bool = False) -> None:
        """Nothing: the bar shows it."""
