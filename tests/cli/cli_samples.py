"""Call the command line in this process, and see what it prints and what it writes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from ablate.cli import commands
from ablate.executors.job import context_of

TASK = """
import torch
from torch import nn
from ablate.tasks.task import Task

generator = torch.Generator().manual_seed(1)
x = torch.randn(100, 4, generator=generator)
y = (x[:, 0] + 0.5 * x[:, 1] > 0).long()
def model():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
task = Task(model=model, train=(x, y), epochs=2, batch_size=16)
"""
STUDY = """task = "tiny.py:task"
[baseline]
optimizer = { name = "momentum", lr = 0.1 }
[space]
include = ["dropout", "weight_decay", "placebo"]
[search]
trials = 3
[rank]
design = "screening"
waves = 1
[confirm]
seeds = 2
"""
INLINE = ("--executor", "inline", "--device", "cpu")


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


def files(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def ablate(capsys, *words: str) -> Said:
    """`ablate WORDS`, in this process. A traceback fails the test."""
    context_of.cache_clear()
    capsys.readouterr()
    given = sys.argv
    sys.argv = ["ablate", *words]
    try:
        code, line = commands.run(words)
    finally:
        sys.argv = given
    out, err = capsys.readouterr()
    return Said(code, out, err + f"ablate: {line}\n" * bool(line))
