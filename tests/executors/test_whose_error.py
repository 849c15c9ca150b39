"""An exception that a kernel raises for a line of the user's `forward` is the user's; one of a kernel's own is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.catalogue.registry import registry
from ablate.executors.job import Job, context_of, run_job
from ablate.executors.job_error import JobError
from ablate.lanes import trainer
from ablate.records.recipe import Recipe
from ablate.records.run import Run

TASK = """
import torch
from torch import nn
from ablate.tasks.task import Task

x = torch.randn(100, 4, generator=torch.Generator().manual_seed(1)).clamp(-2, 2)
y = (x[:, 0] > 0).long()
x[70, 0] = 9.0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Parameter(torch.ones(1, 4)), nn.Linear(4, 2)

    def forward(self, x):
        shift = nn.functional.embedding((x[:, 0] > 5).long(), self.table)
        return self.head(x + shift)


task = Task(model=Net, train=(x, y), validation=(x[:20], y[:20]), test=False, epochs=2, batch_size=16)
"""
LINE = TASK[: TASK.index("shift =")].count("\n") + 1
KERNELS = ("compiled", "batched", "vmap", "loop")


EXITING = TASK.replace(
    "        shift =",
    "        if bool((x[:, 0] > 5).any()):\n            raise SystemExit(0)\n        shift =",
)


def job_of(folder: Path, kernel: str, text: str = TASK) -> Job:
    file = folder / "indexed.py"
    file.write_text(text)
    recipe = Recipe.of(registry(), {"momentum": {"lr": 0.01}})
    context_of.cache_clear()
    runs = tuple(Run("indexed", recipe, seed, 2) for seed in range(2))
    return Job(f"{file}:task", runs, kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_index_out_of_bounds_is_the_line_of_the_model(kernel: str, tmp_path: Path):
    with pytest.raises(JobError) as caught:
        run_job(job_of(tmp_path, kernel))
    assert not caught.value.is_internal
    assert caught.value.location == f"indexed.py:{LINE}"
    assert caught.value.message.startswith("IndexError")


@pytest.mark.parametrize("kernel", ["compiled", "loop"])
def test_an_error_of_ablate_s_own_stays_ours(kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    job = job_of(tmp_path, kernel)
    monkeypatch.setattr(trainer, "share_right", len)
    with pytest.raises(JobError) as caught:
        run_job(job)
    assert caught.value.is_internal
    assert caught.value.location.startswith("ablate/lanes/trainer.py:")


def test_a_model_that_exits_has_failed(tmp_path: Path):
    """Its exit code must not become the study's."""
    with pytest.raises(JobError) as caught:
        run_job(job_of(tmp_path, "loop", EXITING))
    assert caught.value.message == "SystemExit: 0"
    assert caught.value.location == f"indexed.py:{LINE + 1}"
