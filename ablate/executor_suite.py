"""The conformance suite of executors: what `ablate.testing.check_executor` asks of one, built in or plugged in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ablate.catalogue.registry import registry
from ablate.executors.executor import Executor, Factory
from ablate.executors.inline import Inline
from ablate.executors.job import Job
from ablate.executors.shared_task import SharedTask
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Result, Run
from ablate.tasks.tiny_tasks import small_tasks

WORKERS = 2
EPOCHS = 2
RATES = (0.1, 0.01, 1e30)
"""The last diverges: that is a result."""
PENDING = 3 * WORKERS
"""Jobs that are cancelled: more than can run at a time."""
PROGRESS_SECONDS = 10.0
"""Within which the progress of a finished job must have arrived."""


def check_executor(factory: Factory) -> None:
    """Check an executor made by `factory(workers, progress)`. Raises AssertionError."""
    check_results(factory)
    check_errors(factory)
    check_end(factory)


def check_results(factory: Factory) -> None:
    """Several jobs at a time give the numbers of the inline executor, bit for bit; the progress is that of their epochs."""
    jobs = [sample_job(seed) for seed in range(3)]
    expected = [without_durations(Inline().submit(job).result().results) for job in jobs]
    heard: list[int] = []
    executor = factory(WORKERS, heard.append)
    try:
        assert executor.workers >= 1, "an executor has at least one worker"
        futures = [executor.submit(job) for job in jobs]
        executor.set_idle_workers(0)
        results = [future.result() for future in futures]
        got = [without_durations(one.results) for one in results]
        assert got == expected, "results differ from those of the inline executor"
        trained = sum(r.epochs for one in results for r in one.results if r is not None)
        end = time.monotonic() + PROGRESS_SECONDS
        while sum(heard) != trained and time.monotonic() < end:
            time.sleep(0.05)
        assert sum(heard) == trained, (
            f"progress of {sum(heard)} lane-epochs was reported, {trained} were trained"
        )
    finally:
        executor.shutdown()


def check_errors(factory: Factory) -> None:
    """An error of a job is raised by its future unchanged, and the next job trains."""
    executor = factory(WORKERS, None)
    try:
        job = sample_job(0)
        error = executor.submit(replace(job, sha256="0" * 64)).exception()
        assert isinstance(error, InputError), f"an InputError of the job arrived as {type(error).__name__}"
        assert executor.submit(job).exception() is None, "no job trains after one that failed"
    finally:
        executor.shutdown()


def check_end(factory: Factory) -> None:
    """`shutdown` waits for jobs; `cancel` may be called without any, with running and pending ones, and twice. The next executor then trains."""
    executor: Executor = factory(WORKERS, None)
    future = executor.submit(sample_job(0))
    executor.shutdown()
    assert future.done(), "shutdown returned before the job's future was done"
    for jobs in (0, PENDING):
        cancelled = factory(WORKERS, None)
        for seed in range(jobs):
            cancelled.submit(sample_job(seed))
        cancelled.cancel()
        cancelled.cancel()
    after = factory(WORKERS, None)
    try:
        assert after.submit(sample_job(0)).exception() is None, "no job trains after others were cancelled"
    finally:
        after.shutdown()


def sample_job(seed: int) -> Job:
    """A group of three runs of a small task that is sent by value."""
    shared = SharedTask.of(small_tasks()["table"], pickled=True)
    runs = tuple(
        Run(shared.task.name, Recipe.of(registry(), {"momentum": {"lr": rate}}), seed, EPOCHS)
        for rate in RATES
    )
    return Job(shared.reference, runs, shared=shared)


def without_durations(results: Sequence[Result | None]) -> list[str]:
    """All of the results but their seconds, as text, because NaN is not equal to itself."""
    return [
        repr((str(r.outcome), dict(r.metrics), dict(r.curves), dict(r.scores), r.epochs, r.note))
        for r in results
        if r is not None
    ]
