"""The study that is killed, paused and interrupted: seconds of training, with every stage."""

from __future__ import annotations

from pathlib import Path

TASK = """
import torch
from torch import nn
from ablate.tasks.task import Task

generator = torch.Generator().manual_seed(1)
x = torch.randn(100, 4, generator=generator)
y = (x[:, 0] + 0.5 * x[:, 1] > 0).long()
task = Task(
    model=lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)),
    train=(x, y), epochs=2, batch_size=16, name="chaos",
)
"""
STUDY = """
task = "{task}:task"
[space]
include = ["dropout", "weight_decay", "warmup", "placebo"]
[search]
trials = 8
[rank]
design = "screening"
waves = 1
[confirm]
seeds = 2
"""


def study_in(folder: Path) -> Path:
    """Write a new study; returns the path that its ledger will have."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "chaos_task.py").write_text(TASK)
    (folder / "chaos.toml").write_text(STUDY.format(task=(folder / "chaos_task.py").as_posix()))
    return folder / "studies" / "chaos.db"
