"""Any `concurrent.futures.Executor` as an executor of jobs: thread and process pools, mpi4py.futures, executorlib, parsl …"""

from __future__ import annotations

import concurrent.futures
from concurrent.futures import Future
from contextlib import suppress

from ablate.executors.job import Job, JobResult
from ablate.executors.progress import Progress
from ablate.executors.remote import Answer, SealedJob, job_future, work
from ablate.executors.versions import versions


class Futures:
    """Submits `work(SealedJob.of(job), versions())` to `pool`. Progress is reported when a job is done.

    Workers load the task by its reference, so they need the same files at the same paths; a task without one
    travels with each job. `owned`: the pool is shut down with the executor; the caller's own pool is left open.
    """

    def __init__(
        self, pool: concurrent.futures.Executor, workers: int, progress: Progress | None, *, owned: bool
    ) -> None:
        self.pool, self.workers, self.progress, self.owned = pool, max(1, workers), progress, owned
        self._unfinished: set[Future[Answer]] = set()

    def submit(self, job: Job) -> Future[JobResult]:
        inner: Future[Answer] = self.pool.submit(work, SealedJob.of(job), versions())
        self._unfinished.add(inner)
        inner.add_done_callback(self._unfinished.discard)
        future = job_future(inner)
        future.add_done_callback(self._tell)
        return future

    def _tell(self, future: Future[JobResult]) -> None:
        if self.progress is not None and future.exception() is None:
            self.progress(sum(result.epochs for result in future.result().results if result is not None))

    def set_idle_workers(self, count: int) -> None:
        """A job cannot be reached while it runs."""

    def shutdown(self) -> None:
        concurrent.futures.wait(list(self._unfinished))
        if self.owned:
            self.pool.shutdown()

    def cancel(self) -> None:
        """Drop the jobs that have not begun. `concurrent.futures` cannot stop a running one, so this does not wait for the pool."""
        for future in list(self._unfinished):
            with suppress(NotImplementedError):  # parsl's futures cannot be cancelled
                future.cancel()
        if self.owned:
            self.pool.shutdown(wait=False, cancel_futures=True)
