"""Progress on standard error: a bar per stage on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from ablate.ledger.entry import Entry

EVERY = 10.0
"""Seconds between plain lines."""


class ProgressDisplay:
    """Displays the driver's `Progress`. Use as a context manager.

    `metric`: that of "best so far", in `unit`; `higher`: whether higher is better.
    """

    def __init__(self, metric: str, *, higher: bool, quiet: bool = False, unit: str = "") -> None:
        self.console = Console(stderr=True, highlight=False)
        self.metric, self.higher, self.quiet, self.unit = metric, higher, quiet, unit
        self.live = self.console.is_terminal and not quiet
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
            TextColumn("lane-epochs"), TimeRemainingColumn(), TextColumn("{task.fields[counts]}"),
            console=self.console, disable=not self.live,
        )  # fmt: skip
        self.task: TaskID | None = None
        self.name = ""
        self.announced = True
        self.total = self.done = self.runs = 0
        self.counts: dict[str, int] = {}
        self.best: float | None = None
        self.began = self.last_line = time.monotonic()

    def __enter__(self) -> ProgressDisplay:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def stage(self, name: str, lane_epochs: int) -> None:
        """Begin a stage of `lane_epochs`, or add as many to the current one."""
        if name == self.name and self.task is not None:
            self.total += lane_epochs
            self.bar.update(self.task, total=self.total)
            return
        if self.task is not None:
            self.bar.update(self.task, visible=False)
        self.name, self.total, self.done, self.runs = name, lane_epochs, 0, 0
        self.counts, self.best = {}, None
        self.began = self.last_line = time.monotonic()
        self.task = self.bar.add_task(escape(name), total=lane_epochs, counts="")
        self.announced = False

    def _announce(self) -> None:
        """Announce the size of the stage when it starts to train; a stage that a resumed study already has stays silent."""
        if not self.announced:
            self.announced = True
            self._line(f"{self.name}: {self.total} lane-epochs")

    def trained(self, lane_epochs: int) -> None:
        """Advance the bar, or print a line from time to time."""
        self._announce()
        self.done = min(self.total, self.done + lane_epochs)
        if self.task is not None:
            self.bar.update(self.task, completed=self.done)
        if time.monotonic() - self.last_line > EVERY:
            self.last_line = time.monotonic()
            self._line(f"{self.name}: {self.done}/{self.total} lane-epochs, {self._counts_text()}")

    def result(self, entry: Entry) -> None:
        self._announce()
        self.runs += 1
        outcome = str(entry.result.outcome)
        self.counts[outcome] = self.counts.get(outcome, 0) + 1
        value = entry.result.metrics.get(self.metric, float("nan"))
        if outcome == "complete" and value == value:
            better = self.best is None or (value > self.best if self.higher else value < self.best)
            self.best = value if better else self.best
        if self.task is not None:
            self.bar.update(self.task, counts=escape(self._counts_text()))

    def say(self, line: str) -> None:
        """Print a remark, unless quiet."""
        if not self.quiet:
            self.console.print(escape(line), soft_wrap=True)

    def finish(self, name: str, seconds: float) -> None:
        """Close the bar of the stage and print its duration."""
        if self.task is not None:
            self.bar.update(self.task, visible=False)
            self.task = None
        self._line(f"{name}: done in {seconds:.1f} s", always=True)

    def _counts_text(self) -> str:
        minutes = max(time.monotonic() - self.began, 1e-9) / 60
        parts = [f"{self.runs} runs", f"{self.runs / minutes:.0f} runs/min"]
        if self.best is not None:
            parts.append(f"best {self.metric} {self.best:.4f} {self.unit}".rstrip())
        parts += [f"{count} {outcome}" for outcome, count in self.counts.items() if outcome != "complete"]
        return ", ".join(parts)

    def _line(self, line: str, *, always: bool = False) -> None:
        """A plain line without a bar (or one that is to stay)."""
        if not self.quiet and (always or not self.live):
            print(line, file=sys.stderr, flush=True) if not self.live else self.console.print(escape(line))  # noqa: T201
