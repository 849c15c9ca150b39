"""An executor from outside the package: one thread, and a log of what the driver asked for."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from ablate.executors.job import Job, JobResult, run_job
from ablate.executors.progress import Progress

log: list[str] = []


class OneThread:
    workers = 1

    def __init__(self, workers: int, progress: Progress | None) -> None:
        self.progress = progress
        self.pool = ThreadPoolExecutor(1)

    def submit(self, job: Job) -> Future[JobResult]:
        log.append(f"submit {len(job.runs)}")
        return self.pool.submit(run_job, job, self.progress)

    def set_idle_workers(self, count: int) -> None:
        log.append("idle")

    def shutdown(self) -> None:
        log.append("shutdown")
        self.pool.shutdown()

    def cancel(self) -> None:
        log.append("cancel")
        self.pool.shutdown(cancel_futures=True)


not_callable = 3
