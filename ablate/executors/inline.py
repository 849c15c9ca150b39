"""Run jobs in this process, one after another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ablate.executors.job import Job, JobResult, run_job
from ablate.executors.progress import Progress


class Inline:
    """Runs each job when it is submitted: the returned future is done. Ctrl-C is raised by `submit`."""

    workers = 1

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress

    def submit(self, job: Job) -> Future[JobResult]:
        return self.call(run_job, job)

    def call(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """`function(*args, progress=…)` as a future that is done."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(function(*args, progress=self.progress))
        except Exception as error:  # noqa: BLE001 - a Future hands the error to whoever asks for the result
            future.set_exception(error)
        return future

    def set_idle_workers(self, count: int) -> None:
        """Nothing to share: there is one worker, and it is busy whenever a job runs."""

    def shutdown(self) -> None:
        """No resources are held."""

    def cancel(self) -> None:
        """No job runs between calls."""
