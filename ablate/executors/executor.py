"""The protocol of an executor: jobs of lanes in, futures of their results out.

The vocabulary is that of `concurrent.futures`. An executor decides where a job runs (this process, a pool, a
cluster); `ablate.executors.job.run_job(job, progress)` is what it runs. A `Job` and a `JobResult` can be pickled.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from ablate.executors.progress import Progress

if TYPE_CHECKING:  # importing a job imports torch, and a worker process imports its executor before torch
    from ablate.executors.job import Job, JobResult


class Executor(Protocol):
    """Runs jobs. All methods are called from one thread of the driver.

    `workers`: how many jobs can run at a time; the driver splits its work into at least that many if it can.
    """

    workers: int

    def submit(self, job: Job, /) -> Future[JobResult]:
        """Schedule a job. The future raises what `run_job` raised, or `BrokenExecutor` if a worker died; so may this method.

        An executor may run the job before it returns; the future is then done. Jobs are submitted longest first.
        """
        ...

    def set_idle_workers(self, count: int, /) -> None:
        """A hint: `count` workers have no job. A running job may end early with a checkpoint, so that its lanes can be split
        among them (`ablate.executors.work_sharing`). Doing nothing is correct."""
        ...

    def shutdown(self) -> None:
        """Wait for the submitted jobs, then release every resource."""
        ...

    def cancel(self) -> None:
        """Stop running jobs and drop pending ones, then release every resource. Unfinished work is lost."""
        ...


Factory = Callable[[int, Progress | None], Executor]
"""Makes an executor from the number of workers and a progress callback."""
