"""Tiny studies in a folder of their own, run in this process."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.executors.job import context_of
from ablate.ledger.entry import Entry
from ablate.ledger.store import Ledger
from ablate.study.driver import STAGES, run_study
from ablate.study.request import Options, find
from ablate.study.resume import session_of

TABULAR = """
import torch
from torch import nn
from ablate.tasks.task import Task

generator = torch.Generator().manual_seed(1)
x = torch.randn(100, 4, generator=generator)
y = (x[:, 0] + 0.5 * x[:, 1] > 0).long()
task = Task(
    model=lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), train=(x, y), epochs=2, batch_size=16
)
"""
STUDY = """
[baseline]
optimizer = { name = "momentum", lr = 0.1 }
[space]
include = ["dropout", "weight_decay", "warmup", "placebo"]
[search]
trials = 6
[rank]
design = "screening"
waves = 1
[confirm]
seeds = 2
"""
NO_RATE = STAGES[1:]


@dataclass
class Heard:
    """A `Progress` that remembers; `raising` is called with the number of results so far."""

    said: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    epochs: int = 0

    def stage(self, name: str, lane_epochs: int) -> None:
        self.stages.append(name)

    def trained(self, lane_epochs: int) -> None:
        self.epochs += lane_epochs

    def result(self, entry: Entry) -> None:
        self.entries.append(entry)

    def say(self, line: str) -> None:
        self.said.append(line)

    def finish(self, name: str, seconds: float) -> None:
        self.finished.append(name)


@dataclass(frozen=True)
class Place:
    """A folder with a task file and a study file."""

    folder: Path
    name: str

    @property
    def ledger(self) -> Path:
        return self.folder / "studies" / f"{self.name}.db"

    @property
    def report(self) -> Path:
        return self.folder / "reports" / self.name

    def options(self, executor: str = "inline", **changes: Any) -> Options:
        return Options(
            self.folder / "studies",
            self.folder / "reports",
            "cpu",
            0,
            2,
            executor,
            command="ablate study",
            **changes,
        )

    def run(
        self,
        stages: tuple[str, ...] = NO_RATE,
        executor: str = "inline",
        progress: Any = None,
        **more: Any,
    ) -> list[Entry]:
        """Run stages in this process; what the ledger holds afterwards."""
        context_of.cache_clear()  # another test may have written another task to an equal path
        options = self.options(executor)
        opened = find(str(self.folder / f"{self.name}.toml"), options)
        with session_of(opened, options, progress) as session:
            run_study(session, options, stages, **more)
        return self.entries()

    def entries(self) -> list[Entry]:
        with Ledger.open(self.ledger, write=False) as ledger:
            return ledger.entries()

    def fact(self, key: str) -> Any:
        with Ledger.open(self.ledger, write=False) as ledger:
            return ledger.fact(key)


def place(folder: Path, task: str = TABULAR, study: str = STUDY, name: str = "tiny") -> Place:
    """A study of `task` (the text of its file), not begun."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}_task.py"
    file.write_text(task)
    (folder / f"{name}.toml").write_text(f'task = "{file.as_posix()}:task"\n{study}')
    return Place(folder, name)


def without_durations(entries: list[Entry]) -> dict[str, tuple[Any, ...]]:
    """Identity -> all of an entry but the seconds. Text, because NaN is not equal to itself."""
    return {
        e.identity: (
            e.stage, e.wave, e.trial, e.arm, str(e.run), str(e.result.outcome), repr(dict(e.result.metrics)),
            repr(dict(e.result.curves)), repr(dict(e.result.scores)), e.result.epochs, e.result.note,
        )
        for e in entries
    }  # fmt: skip


def duplicates(ledger: Path) -> int:
    """Rows too many, counted by SQLite alone."""
    connection = sqlite3.connect(ledger)
    try:
        rows, distinct = connection.execute("SELECT count(*), count(DISTINCT identity) FROM runs").fetchone()
    finally:
        connection.close()
    return rows - distinct
