"""A job: one group of runs with everything needed to train it, in a form that can be sent to another process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import torch

from ablate.catalogue.own_tricks import NONE, OwnTricks, catalogue_with, using_tricks
from ablate.executors.error_origin import job_error
from ablate.executors.job_error import JobError
from ablate.executors.progress import Progress
from ablate.executors.shared_task import SharedTask, task_of
from ablate.executors.work_sharing import claim_idle_worker
from ablate.lanes import checkpoint
from ablate.lanes.capabilities import ModelProbe
from ablate.lanes.context import TaskContext
from ablate.lanes.trace import EpochReport
from ablate.lanes.train import train
from ablate.lanes.training import Paused, Training
from ablate.records.errors import AblateError, InputError
from ablate.records.run import Result, Run

MIN_LANES = 2
"""Fewest lanes in a part of a split group."""
MIN_SECONDS = 1.0
"""Remaining training time below which splitting a group costs about as much as it saves."""
SAVE_SECONDS = 30.0
"""Seconds of training after which a job's state is saved again, if the worker may be lost."""
Save = Callable[["JobResult"], None]
"""Keeps the results and the checkpoint of a job that is not finished."""


class Pruning(Protocol):
    """Decides after each epoch which lanes of a group to stop."""

    def __call__(self, report: EpochReport, /) -> Sequence[bool] | None: ...
    @property
    def never(self) -> bool:
        """Whether no lane is ever stopped; a group may then be split while it trains."""
        ...

    def with_finished(self, results: Sequence[Result], /) -> Pruning:
        """This rule for a group some of whose runs already have results."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """A group of runs of one structure, and where and how to train it.

    `reference`: the task as the user typed it (a name, or `file.py:attribute`); nothing else is imported. Or that of `shared`.
    `sha256`: of the task file when the driver read it; a worker that reads another file raises InputError.
    `prune`: called after each epoch with the `EpochReport`; returns which lanes to stop.
    `lanes`: how many train at a time; None for all.
    `profile`: synchronise a GPU to attribute time to training phases, which makes training slower.
    `checkpoint`: of a group that contains these runs, from which to continue; empty to start from scratch.
    `metric`: the study's metric, as in `Task.metric`; empty for the task's own.
    `shared`: the task itself where workers cannot load it. An executor that has sent it to its workers may send jobs without it.
    `tricks`: the study's own tricks, as files and optimizer classes.
    `probe`: what the driver found out about the model. All workers train by it, since a probe can turn out otherwise in another process:
    threads of an engine draw random numbers, and lanes that train alone are not compared by a pruner.
    """

    reference: str
    runs: tuple[Run, ...]
    splits: tuple[str, ...] = ("validation",)
    device: str = "cpu"
    kernel: str | None = None
    sha256: str = ""
    prune: Pruning | None = None
    lanes: int | None = None
    profile: bool = False
    checkpoint: bytes = b""
    metric: str = ""
    shared: SharedTask | None = None
    tricks: OwnTricks = NONE
    probe: ModelProbe | None = None


@dataclass(frozen=True, slots=True)
class JobResult:
    """The outcome of a job.

    `results`: in the order of the job's runs; None for a run that is not finished.
    `checkpoint`: of the unfinished runs; empty if there are none.
    `seconds`: by phase of training (`ablate.lanes.phase_timer.PHASES`).
    `warnings`: sentences about what ran slower than it needs to.
    """

    results: Sequence[Result | None]
    checkpoint: bytes = b""
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: frozenset[str] = frozenset()


@lru_cache(maxsize=4)
def context_of(
    reference: str,
    device: str,
    kernel: str | None = None,
    metric: str = "",
    tricks: OwnTricks = NONE,
    probe: ModelProbe | None = None,
) -> TaskContext:
    """The context of a task, cached for the life of the process."""
    task = task_of(reference)
    return TaskContext.of(
        task.but(metric=metric) if metric else task,
        catalogue_with(tricks),
        torch.device(device),
        kernel,
        probe,
    )


def run_job(job: Job, progress: Progress | None = None, save: Save | None = None) -> JobResult:
    """Train the runs of a job; `save` receives its state every SAVE_SECONDS. Raises InputError if the task file changed, any AblateError of the training unchanged, and JobError for
    any other exception of the training; whatever else the future raises is the executor's own."""
    try:
        with using_tricks(job.tricks):
            return _run_job(job, progress, save)
    except (Exception, SystemExit) as error:  # a model that calls sys.exit must not end the driver
        if not isinstance(error, AblateError | JobError):
            raise JobError.of(error) from error
        raise


def _run_job(job: Job, progress: Progress | None, save: Save | None) -> JobResult:
    if job.shared is not None:
        job.shared.remember()
    context = context_of(job.reference, job.device, job.kernel, job.metric, job.tricks, job.probe)
    if job.sha256 and context.task.source_sha256 != job.sha256:
        raise InputError(f"{job.reference} changed while the study ran", hint="run the command again")

    def after_epoch(report: EpochReport) -> Sequence[bool] | None:
        if progress is not None:
            progress(len(report.runs))
        return job.prune(report) if job.prune is not None else None

    def resume() -> Training:
        training = checkpoint.loads(job.checkpoint, context)
        training.watch = after_epoch
        lanes = {run.identity: lane for lane, run in enumerate(training.runs)}
        training.keep(sorted(job.runs, key=lambda run: lanes[run.identity]))
        return training

    saved = time.monotonic()

    def pause(training: Training) -> bool:
        nonlocal saved
        if save is not None and not training.waiting and time.monotonic() - saved >= SAVE_SECONDS:
            save(_unfinished(job, training))
            saved = time.monotonic()
        return job.prune is None and should_split(training)  # pruning compares the runs of the whole group

    context.clock.waits = job.profile
    context.clock.take()
    results: Sequence[Result | None]
    unfinished, started = b"", time.monotonic()
    try:
        results = train(
            context, job.runs, splits=job.splits, watch=after_epoch, lanes=job.lanes,
            pause=pause, begun=resume if job.checkpoint else None,
        )  # fmt: skip
    except Paused as paused:
        stopped = _unfinished(job, paused.training)
        results, unfinished = stopped.results, stopped.checkpoint
    except Exception as error:
        if not isinstance(error, AblateError):
            raise job_error(error, context, job.runs, job.splits, time.monotonic() - started) from error
        raise
    return JobResult(results, unfinished, context.clock.take(), frozenset(context.clock.slow))


def _unfinished(job: Job, training: Training) -> JobResult:
    """The results so far, and a checkpoint of the other runs."""
    results = [training.results.get(run.identity) for run in job.runs]
    return JobResult(results, checkpoint.dumps(training))


def should_split(training: Training) -> bool:
    """Whether the group is worth splitting and a worker is idle; claims that worker."""
    worth_it = training.trainer.lanes >= 2 * MIN_LANES and training.left >= MIN_SECONDS
    return worth_it and not training.waiting and claim_idle_worker()
