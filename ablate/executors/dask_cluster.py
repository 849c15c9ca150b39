"""Run jobs on a Dask cluster: a local one, or any with a scheduler's address (dask-jobqueue starts them on SLURM and PBS).

Dask itself reruns a job whose worker died, up to the scheduler's `allowed-failures` times (3 by default); it then raises
KilledWorker. Progress comes as events of a topic; a job's saved state is a `Variable` on the scheduler, which outlives workers.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import distributed
from distributed import Client, KilledWorker, LocalCluster, Variable

from ablate.executors.job import Job, JobResult
from ablate.executors.progress import Progress
from ablate.executors.remote import (
    Answer,
    SealedJob,
    job_future,
    keep_random_apart,
    lacks_ablate,
    without_ablate,
    work,
)
from ablate.executors.shared_task import SharedTask
from ablate.executors.versions import versions
from ablate.records.addresses import shown_address
from ablate.records.errors import AblateError, InputError
from ablate.records.run import Outcome, Result

RETRIES = 2
"""How often Dask reruns a job whose call failed on a worker, for example because its data cannot be deserialised."""
CONNECT_SECONDS = 30
SEND_ATTEMPTS = 5
STOP_SECONDS = 8
"""Seconds within which workers are restarted when the driver is interrupted."""
CLOSE_SECONDS = 60
"""Seconds within which a local cluster ends after a study."""
LARGEST_STATE = 32 << 20
"""Largest saved state, in bytes, that the scheduler keeps. A job with a larger one starts again from the beginning."""


class DaskCluster:
    """An executor on the cluster at `address`; without one, on a local cluster of `workers` processes (0: one per core).

    A worker trains one job at a time whatever its number of threads. Cancelling restarts the workers that train this study's jobs.
    """

    def __init__(self, workers: int, progress: Progress | None, *, address: str = "") -> None:
        self._local = None if address else _local_cluster(workers)
        try:
            self._client = Client(
                self._local or address, timeout=CONNECT_SECONDS, set_as_default=False, direct_to_workers=False
            )
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(
                f"there is no Dask scheduler at {shown_address(address)}: {type(error).__name__}",
                hint="give its address as the scheduler prints it: --executor dask:tcp://host:8786",
            ) from error
        if self._local is None:
            self._client.wait_for_workers(1)
        there = len(self._client.scheduler_info(n_workers=-1)["workers"])
        self.workers = max(1, min(workers or there, there))
        self._executor = self._client.get_executor(pure=False, retries=RETRIES)
        self._topic = f"ablate-{uuid.uuid4().hex}"
        self._progress = progress
        self._client.subscribe_topic(self._topic, self._heard)
        self._shared: tuple[str, Any] | None = None
        self._saved: dict[Future[Answer], Variable] = {}

    def _heard(self, event: tuple[float, int]) -> None:
        if self._progress is not None:
            self._progress(event[1])

    def submit(self, job: Job) -> Future[JobResult]:
        shared = None
        if job.shared is not None:
            if self._shared is None or self._shared[0] != job.shared.reference:
                self._shared = (job.shared.reference, self._sent(job.shared))
            shared = self._shared[1]
            job = replace(job, shared=None)
        saved = Variable(f"{self._topic}-{uuid.uuid4().hex}", client=self._client)
        saved.set({})
        inner: Future[Answer] = self._executor.submit(
            work_on_dask,
            SealedJob.of(job),
            dict(versions()),
            shared,
            DaskChannel(self._topic, saved.name),
            key=saved.name,
        )
        self._saved[inner] = saved
        inner.add_done_callback(self._forget)
        return job_future(inner, given_up=(KilledWorker,))

    def _sent(self, shared: SharedTask) -> Any:
        """The task in the memory of every worker. Sent again if a worker leaves meanwhile."""
        for attempt in range(SEND_ATTEMPTS):
            try:
                return self._client.scatter(shared, broadcast=True)
            except Exception as error:
                if lacks_ablate(error):
                    raise without_ablate(error) from error
                if isinstance(error, OSError | TimeoutError) and attempt < SEND_ATTEMPTS - 1:
                    time.sleep(1.0)
                    self._client.wait_for_workers(1)
                    continue
                raise
        raise AssertionError

    def _forget(self, inner: Future[Answer]) -> None:
        saved = self._saved.pop(inner, None)
        if saved is not None and self._client.status == "running":
            saved.delete()
        if inner.cancelled():
            self._shared = None  # its data may have been lost with the worker that had it: send it again

    def set_idle_workers(self, count: int) -> None:
        """A job on a cluster is not split while it runs."""

    def shutdown(self) -> None:
        self._executor.shutdown()
        self._close(CLOSE_SECONDS)

    def cancel(self) -> None:
        """A second call has no effect."""
        if self._client.status != "running":
            return
        try:
            if self._local is None:
                self._restart_busy_workers()
        finally:
            self._close(STOP_SECONDS)

    def _restart_busy_workers(self) -> None:
        """A computing thread cannot be stopped from outside, so the nanny kills its process."""
        busy = [
            worker for worker, keys in self._client.processing().items()
            if any(str(key).startswith(self._topic) for key in keys)
        ]  # fmt: skip
        self._executor.shutdown(wait=False)
        try:
            if busy:
                self._client.restart_workers(busy, timeout=STOP_SECONDS, raise_for_error=False)
        except (ValueError, OSError, TimeoutError) as error:
            raise AblateError(
                f"{len(busy)} Dask workers cannot be restarted ({error}): their current jobs run to the end",
                hint="start workers with a nanny",
            ) from error

    def _close(self, seconds: float) -> None:
        with suppress(
            TimeoutError
        ):  # all jobs have ended: on a busy machine the processes of a local cluster end a little later
            self._client.close(timeout=seconds)
        if self._local is not None:
            with suppress(TimeoutError):
                self._local.close(timeout=seconds)


class DaskChannel:
    """Reaches the driver from a worker, through the scheduler."""

    def __init__(self, topic: str, saved: str) -> None:
        self.topic, self.name = topic, saved

    def trained(self, lane_epochs: int) -> None:
        distributed.get_worker().log_event(self.topic, lane_epochs)

    def save(self, unfinished: JobResult) -> None:
        if len(unfinished.checkpoint) <= LARGEST_STATE:
            self._variable().set(_packed(unfinished))

    def saved(self) -> JobResult | None:
        state = self._variable().get(timeout=CONNECT_SECONDS)
        return _unpacked(state) if state else None

    def _variable(self) -> Variable:
        return Variable(self.name, client=distributed.get_client())


def work_on_dask(
    job: SealedJob, driver: Mapping[str, str], shared: SharedTask | None, channel: DaskChannel
) -> Answer:
    """The Dask task."""
    keep_random_apart(("dask", "distributed", "tornado"))
    return work(job, driver, shared, channel)


def _local_cluster(workers: int) -> LocalCluster:
    return LocalCluster(
        n_workers=workers or os.cpu_count() or 1, threads_per_worker=1, processes=True, dashboard_address=None
    )


def _packed(unfinished: JobResult) -> dict[str, Any]:
    """The unfinished job as values that the scheduler keeps: it deserialises nothing of ours."""
    rows = [
        None if result is None else {**asdict(result), "outcome": str(result.outcome)}
        for result in unfinished.results
    ]
    return {"results": rows, "checkpoint": unfinished.checkpoint}


def _unpacked(state: Mapping[str, Any]) -> JobResult:
    results = [
        None
        if row is None
        else Result(
            **{
                **row,
                "outcome": Outcome(row["outcome"]),
                "curves": {name: tuple(curve) for name, curve in row["curves"].items()},
                "scores": {name: tuple(scores) for name, scores in row["scores"].items()},
            }
        )
        for row in state["results"]
    ]
    return JobResult(results, state["checkpoint"])
