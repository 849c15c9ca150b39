"""What an executor runs: one group of runs, from a description that can be sent to another process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch

from ablate.catalogue.registry import registry
from ablate.lanes.bench import Bench
from ablate.lanes.train import Report, train
from ablate.records.errors import InputError
from ablate.records.run import Result, Run
from ablate.tasks.load import load

Progress = Callable[[int], None]
"""Told how many lane-epochs were trained since the last call."""


@dataclass(frozen=True, slots=True)
class Job:
    """A group of runs of one structure, and where and how to train it.

    `reference` is what the user typed for the task (a name, or `file.py:attribute`); only that is ever
    imported. `sha256` is the task file's when the driver read it: a worker that finds another refuses.
    `lanes`: how many train at a time, if not all of them.
    `prune`: called after each epoch with the `Report`, says which lanes to end.
    `profile`: the phases of training are to be told apart on a GPU too, which makes it slower.
    """

    reference: str
    runs: tuple[Run, ...]
    splits: tuple[str, ...] = ("validation",)
    device: str = "cpu"
    kernel: str | None = None
    sha256: str = ""
    prune: Callable[[Report], Sequence[bool] | None] | None = None
    lanes: int | None = None
    profile: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """Results in the order of a job's runs, the seconds that each phase of training took (`lanes.clock.PHASES`), and in
    words what took longer than it needs to."""

    results: list[Result]
    seconds: dict[str, float] = field(default_factory=dict)
    slow: frozenset[str] = frozenset()


@lru_cache(maxsize=4)
def bench_of(reference: str, device: str, kernel: str | None = None) -> Bench:
    """The bench of a task, made once a process."""
    return Bench.of(load(reference), registry(), torch.device(device), kernel)


def work(job: Job, progress: Progress | None = None) -> Done:
    """Train a job's runs."""
    bench = bench_of(job.reference, job.device, job.kernel)
    if job.sha256 and bench.task.source_sha256 != job.sha256:
        raise InputError(f"{job.reference} changed while the study ran", hint="run the command again")

    def watch(report: Report) -> Sequence[bool] | None:
        if progress is not None:
            progress(len(report.runs))
        return job.prune(report) if job.prune is not None else None

    bench.clock.waits = job.profile
    bench.clock.take()
    results = train(bench, job.runs, splits=job.splits, watch=watch, lanes=job.lanes)
    return Done(results, bench.clock.take(), frozenset(bench.clock.slow))
