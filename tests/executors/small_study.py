"""A tiny study for executors that need their tasks by value or by path, and counts made by SQLite alone."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.executors.job import context_of
from ablate.study.driver import run_study
from ablate.study.request import Options, find
from ablate.study.resume import session_of

TASK = """
import os
import signal
import time
import torch
from torch import nn
from ablate.tasks.task import Task

generator = torch.Generator().manual_seed(1)
x = torch.randn(100, 4, generator=generator)
y = (x[:, 0] + 0.5 * x[:, 1] > 0).long()

class Slow(nn.Sequential):
    seconds = 0.0
    kills, driver = "", DRIVER
    def forward(self, x):
        time.sleep(self.seconds)
        if self.kills and os.getpid() != self.driver:
            with open(self.kills, "a") as file:
                file.write("killed\\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)

def made():
    return Slow(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

task = Task(model=made, train=(x, y), epochs=EPOCHS, batch_size=16)
"""
STUDY = """
[baseline]
optimizer = { name = "momentum", lr = 0.1 }
[space]
include = ["dropout", "weight_decay", "warmup", "placebo"]
[search]
sampler = "random"
trials = TRIALS
[rank]
design = "screening"
waves = 1
[confirm]
seeds = 2
"""
COLUMNS = "identity, outcome, stage, wave, trial, arm, recipe, seed, budget, epochs, note, metrics, curves, scores_digest"


@dataclass
class Heard:
    """A progress reporter that counts; `on_result` is called with the number of results so far."""

    on_result: Any = None
    results: int = 0
    epochs: int = 0
    said: list[str] = field(default_factory=list)

    def stage(self, name: str, lane_epochs: int) -> None: ...

    def trained(self, lane_epochs: int) -> None:
        self.epochs += lane_epochs

    def result(self, entry: Any) -> None:
        self.results += 1
        if self.on_result is not None:
            self.on_result(self.results)

    def say(self, line: str) -> None:
        self.said.append(line)

    def finish(self, name: str, seconds: float) -> None: ...


def study(
    folder: Path,
    executor: Any,
    progress: Any = None,
    *,
    trials: int = 6,
    epochs: int = 2,
    seconds: float = 0.0,
    kills: Path | None = None,
    lanes: int = 2,
    stages: tuple[str, ...] = ("search",),
) -> Path:
    """Search `trials` recipes with `executor`; the path of the ledger. kills: each worker ends itself in its first step, and adds a line here."""
    context_of.cache_clear()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "small_task.py"
    text = TASK.replace("EPOCHS", str(epochs)).replace("seconds = 0.0", f"seconds = {seconds}")
    text = text.replace('kills, driver = ""', f"kills, driver = {str(kills or '')!r}")
    file.write_text(text.replace("DRIVER", str(os.getpid())))
    (folder / "small.toml").write_text(
        f'task = "{file.as_posix()}:task"\n' + STUDY.replace("TRIALS", str(trials))
    )
    options = Options(
        folder / "studies", folder / "reports", "cpu", lanes, 2, executor, "loop", command="ablate study"
    )
    opened = find(str(folder / "small.toml"), options)
    with session_of(opened, options, progress) as session:
        run_study(session, options, stages)
    return folder / "studies" / "small.db"


def rows(ledger: Path) -> list[tuple[Any, ...]]:
    """All columns of the runs that do not depend on time, sorted by identity."""
    connection = sqlite3.connect(ledger)
    try:
        return sorted(connection.execute(f"SELECT {COLUMNS} FROM runs").fetchall(), key=str)
    finally:
        connection.close()
