"""What an executor runs: one group of runs, from a description that can be sent to another process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch

from ablate.catalogue.registry import registry
from ablate.executors.work_sharing import claim
from ablate.lanes import checkpoint
from ablate.lanes.context import TaskContext
from ablate.lanes.train import train
from ablate.lanes.training import Paused, Report, Training
from ablate.records.errors import InputError
from ablate.records.run import Result, Run
from ablate.tasks.load import load

FEWEST = 2
"""Lanes of a part of a divided group, at least."""
SECONDS = 1.0
"""Of a group that takes less than this to its end, dividing it takes as long as it saves."""
Progress = Callable[[int], None]
"""Told how many lane-epochs were trained since the last call."""


@dataclass(frozen=True, slots=True)
class Job:
    """A group of runs of one structure, and where and how to train it.

    `reference` is what the user typed for the task (a name, or `file.py:attribute`); only that is ever
    imported. `sha256` is the task file's when the driver read it: a worker that finds another refuses.
    `lanes`: how many train at a time, if not all of them.
    `prune`: called after each epoch with the `Report`, says which lanes to end.
    `begun`: a checkpoint of a group that has these runs and perhaps others, from which to go on.
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
    begun: bytes = b""


@dataclass(frozen=True, slots=True)
class Done:
    """Results in the order of a job's runs (None: of those that are not at their end), a checkpoint of the rest (empty where there is
    none), the seconds that each phase of training took (`lanes.clock.PHASES`), and in words what took longer than it needs to."""

    results: Sequence[Result | None]
    rest: bytes = b""
    seconds: dict[str, float] = field(default_factory=dict)
    slow: frozenset[str] = frozenset()


@lru_cache(maxsize=4)
def context_of(reference: str, device: str, kernel: str | None = None) -> TaskContext:
    """The bench of a task, made once a process."""
    return TaskContext.of(load(reference), registry(), torch.device(device), kernel)


def work(job: Job, progress: Progress | None = None) -> Done:
    """Train a job's runs."""
    context = context_of(job.reference, job.device, job.kernel)
    if job.sha256 and context.task.source_sha256 != job.sha256:
        raise InputError(f"{job.reference} changed while the study ran", hint="run the command again")

    def watch(report: Report) -> Sequence[bool] | None:
        if progress is not None:
            progress(len(report.runs))
        return job.prune(report) if job.prune is not None else None

    def begun() -> Training:
        training = checkpoint.loads(job.begun, context)
        training.watch = watch
        lanes = {run.identity: lane for lane, run in enumerate(training.runs)}
        training.keep(sorted(job.runs, key=lambda run: lanes[run.identity]))
        return training

    context.clock.waits = job.profile
    context.clock.take()
    results: Sequence[Result | None]
    rest = b""
    try:
        results = train(
            context, job.runs, splits=job.splits, watch=watch, lanes=job.lanes,
            pause=None if job.prune else is_worth_dividing, begun=begun if job.begun else None,
        )  # fmt: skip
    except Paused as paused:
        results = [paused.training.results.get(run.identity) for run in job.runs]
        rest = checkpoint.dumps(paused.training)
    return Done(results, rest, context.clock.take(), frozenset(context.clock.slow))


def is_worth_dividing(training: Training) -> bool:
    """Whether a worker waits that can take some of the lanes, and they take long enough."""
    enough = training.trainer.lanes >= 2 * FEWEST and training.left >= SECONDS
    return enough and not training.waiting and claim()
