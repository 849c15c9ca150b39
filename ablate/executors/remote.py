"""What runs on a worker that ablate has not started: a worker of Dask or Ray, or of any `concurrent.futures.Executor`.

The return value of `work` is the job's result or the error of its training. An exception of the worker's future is a failure of the
infrastructure (a killed process, a vanished node): only then is the job submitted again.
"""

from __future__ import annotations

import gc
import random
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import cloudpickle

from ablate.executors.job import Job, JobResult, run_job
from ablate.executors.job_error import JobError
from ablate.executors.processes import retain_freed_memory
from ablate.executors.shared_task import SharedTask, received
from ablate.executors.versions import check_versions, versions, where
from ablate.lanes.device import one_thread
from ablate.records.errors import AblateError, InputError
from ablate.records.run import Result

Answer = JobResult | JobError | AblateError
_one_job = threading.Lock()


class WorkerLost(Exception):
    """The infrastructure failed, and the cluster has used up its retries of the job."""


class ChannelLost(BaseException):
    """A message of a job to its driver failed. No `Exception`: the training must not take it for its own error."""


class Channel(Protocol):
    """How a job on a worker reaches its driver."""

    def trained(self, lane_epochs: int) -> None:
        """Lane-epochs trained since the last call."""
        ...

    def save(self, unfinished: JobResult) -> None:
        """Keep the state of the job where it outlives this worker, in place of the previous one."""
        ...

    def saved(self) -> JobResult | None:
        """What `save` stored in an earlier attempt at this job."""
        ...


@dataclass(frozen=True)
class NoChannel:
    """No channel: the driver gets no message before the job is done."""

    def trained(self, lane_epochs: int) -> None: ...
    def save(self, unfinished: JobResult) -> None: ...
    def saved(self) -> JobResult | None:
        return None


@dataclass(frozen=True)
class Guarded:
    """`channel`, whose errors are ChannelLost: training calls it, but they are the infrastructure's."""

    channel: Channel

    def trained(self, lane_epochs: int) -> None:
        with _lost_channel():
            self.channel.trained(lane_epochs)

    def save(self, unfinished: JobResult) -> None:
        with _lost_channel():
            self.channel.save(unfinished)

    def saved(self) -> JobResult | None:
        with _lost_channel():
            return self.channel.saved()


@contextmanager
def _lost_channel() -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception):
            raise ChannelLost(f"{type(error).__name__}: {error}") from error
        raise


@dataclass(frozen=True)
class SealedJob:
    """A job as bytes, opened once versions are compared: other software may not be able to unpickle it."""

    content: bytes

    @classmethod
    def of(cls, job: Job) -> SealedJob:
        """The job, serialised."""
        return cls(cloudpickle.dumps(job))

    def open(self) -> Job:
        """The job. Raises what `received` raises."""
        job: Job = received(self.content)
        return job


def work(
    sealed: SealedJob,
    driver: Mapping[str, str],
    shared: SharedTask | None = None,
    channel: Channel | None = None,
) -> Answer:
    """Train a job and return its result, or the error of its training.

    driver: `versions()` of the driver. shared: the task, if it was sent beforehand. A process trains one job at a time, on
    one thread, however many threads its worker has: sums then have the same order everywhere.
    """
    try:
        with _one_job, one_thread():
            check_versions(driver, versions(), where())
            _prepare_process()
            if shared is not None:
                shared.remember()
            return _resumed(sealed.open(), Guarded(channel or NoChannel()))
    except ChannelLost as error:
        raise ConnectionError(f"the job cannot reach its driver ({error})") from error
    except (AblateError, JobError) as error:
        error.__traceback__ = error.__cause__ = error.__context__ = (
            None  # frames hold tensors; a JobError has the text
        )
        return error


@cache
def _prepare_process() -> None:
    retain_freed_memory()
    gc.freeze()


class _OwnRandom(random.Random):
    """A generator with the names of the module `random`."""

    Random, SystemRandom = random.Random, random.SystemRandom


def keep_random_apart(packages: Collection[str]) -> None:
    """Give the modules of `packages` a generator of their own in place of Python's global one.

    An engine's threads draw from the global generator while a job trains (Dask when it estimates sizes): a model that draws from it too
    would get other numbers.
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in packages and getattr(module, "random", None) is random:
            module.random = _OwnRandom()  # type: ignore[attr-defined]


def _resumed(job: Job, channel: Channel) -> JobResult:
    """The job from its last saved state, if an earlier attempt has left one."""
    saved = channel.saved()
    if saved is None:
        return run_job(job, channel.trained, channel.save)
    remaining = tuple(run for run, result in zip(job.runs, saved.results, strict=True) if result is None)

    def whole(part: JobResult) -> JobResult:
        new_results = dict(zip(remaining, part.results, strict=True))
        results: list[Result | None] = [
            new_results[run] if result is None else result
            for run, result in zip(job.runs, saved.results, strict=True)
        ]
        return replace(part, results=results)

    ended = [result for result in saved.results if result is not None]
    prune = None if job.prune is None else job.prune.with_finished(ended)
    continued = replace(job, runs=remaining, lanes=None, checkpoint=saved.checkpoint, prune=prune)
    return whole(run_job(continued, channel.trained, lambda part: channel.save(whole(part))))


def lacks_ablate(error: BaseException) -> bool:
    """Whether a worker could not even begin, because it has no ablate or another one: trying again would not help."""
    text = str(error)
    return "No module named 'ablate" in text or (
        isinstance(error, ImportError | AttributeError) and "ablate" in text
    )


def without_ablate(error: BaseException) -> InputError:
    """The error of a study whose worker could not begin."""
    return InputError(
        f"a worker cannot import what it is to run: {' '.join(str(error).split())[-200:]}",
        hint="install the driver's version of ablate on all machines",
    )


def job_future(inner: Future[Answer], given_up: tuple[type[Exception], ...] = ()) -> Future[JobResult]:
    """The future of a job's result from that of `work`: it raises an error of the training, or of the infrastructure.

    given_up: errors by which the cluster reports that its retries of the job failed; they become WorkerLost.
    """
    outer: Future[JobResult] = Future()
    outer.set_running_or_notify_cancel()

    def done(inner: Future[Answer]) -> None:
        error = CancelledError("the cluster dropped the job") if inner.cancelled() else inner.exception()
        if error is not None and lacks_ablate(error):
            outer.set_exception(without_ablate(error))
        elif error is not None:
            outer.set_exception(WorkerLost(str(error)) if isinstance(error, given_up) else error)
        elif isinstance(answer := inner.result(), JobResult):
            outer.set_result(answer)
        else:
            outer.set_exception(answer)

    inner.add_done_callback(done)
    return outer
