"""Run jobs as tasks of a Ray cluster: a running one (`ray start`), or a local one.

Ray reruns a task whose worker or node died, `max_retries` times; the error that it then raises is final. Progress and the
saved states of jobs go through one actor on the driver's node, so that the loss of a spot node does not affect it.
"""

from __future__ import annotations

import os
import threading
import uuid
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ablate.executors.job import Job, JobResult
from ablate.executors.progress import Progress
from ablate.executors.remote import Answer, Channel, SealedJob, job_future, keep_random_apart, work
from ablate.executors.shared_task import SharedTask
from ablate.executors.versions import versions
from ablate.records.addresses import shown_address
from ablate.records.errors import InputError

RETRIES = 2
"""How often Ray reruns a task whose worker or node was lost."""
LISTEN_SECONDS = 0.3
STOP_SECONDS = 5.0
GIVEN_UP = (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError)


class RayCluster:
    """An executor on the Ray cluster at `address` (`auto`, `host:port`, `ray://host:10001`).

    Without an address: the cluster of RAY_ADDRESS or of `ray.init`, else a local one of `workers` CPUs (0: one per core).
    num_cpus, num_gpus: what one job takes; fractions let several jobs share a GPU. By default one CPU, and one GPU if the
    study's device is one. `workers`: 0 for as many as the cluster has room for.
    """

    def __init__(
        self,
        workers: int,
        progress: Progress | None,
        *,
        address: str = "",
        num_cpus: float = 1.0,
        num_gpus: float | None = None,
    ) -> None:
        self._begun = not ray.is_initialized()
        if self._begun:
            _connect(address, workers)
        self._num_cpus, self._num_gpus, self._progress = num_cpus, num_gpus, progress
        room = ray.cluster_resources()
        gpu_room = room.get("GPU", 0.0) / num_gpus if num_gpus else float("inf")
        self.workers = workers or max(1, int(min(room.get("CPU", 1.0) / (num_cpus or 1.0), gpu_room)))
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._relay = ray.remote(Relay).options(num_cpus=0, scheduling_strategy=here).remote()
        self._task = ray.remote(max_calls=0)(train_on_worker)  # a worker with a GPU keeps the task on it
        self._shared: tuple[str, Any] | None = None
        self._references: dict[Future[Answer], Any] = {}
        self._stop = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def submit(self, job: Job) -> Future[JobResult]:
        if job.shared is not None and (self._shared is None or self._shared[0] != job.shared.reference):
            self._shared = (job.shared.reference, ray.put(job.shared))
        shared = [self._shared[1]] if job.shared is not None and self._shared is not None else []
        gpus = float(job.device.startswith("cuda")) if self._num_gpus is None else self._num_gpus
        key = uuid.uuid4().hex
        reference = self._task.options(
            num_cpus=self._num_cpus, num_gpus=gpus, max_retries=RETRIES, retry_exceptions=False
        ).remote(SealedJob.of(replace(job, shared=None)), dict(versions()), shared, self._relay, key)
        inner: Future[Answer] = reference.future()
        self._references[inner] = reference
        inner.add_done_callback(lambda inner: self._forget(inner, key))
        return job_future(inner, given_up=GIVEN_UP)

    def _forget(self, inner: Future[Answer], key: str) -> None:
        self._references.pop(inner, None)
        if not self._stop.is_set():
            self._relay.forget.remote(key)

    def _listen(self) -> None:
        while not self._stop.wait(LISTEN_SECONDS):
            self._tell()

    def _tell(self) -> None:
        trained = ray.get(self._relay.take.remote())
        if trained and self._progress is not None:
            self._progress(trained)

    def set_idle_workers(self, count: int) -> None:
        """A job on a cluster is not split while it runs."""

    def shutdown(self) -> None:
        if self._stop.is_set():
            return
        if references := list(self._references.values()):
            ray.wait(references, num_returns=len(references))
        self._close()

    def cancel(self) -> None:
        """Kill the workers that train, drop the pending jobs. A second call has no effect: any call of Ray would begin a new cluster."""
        if self._stop.is_set():
            return
        for reference in list(self._references.values()):
            ray.cancel(reference, force=True)
        self._close()

    def _close(self) -> None:
        if self._stop.is_set():
            return
        self._stop.set()
        self._listener.join(STOP_SECONDS)
        self._tell()
        ray.kill(self._relay)
        if self._begun:
            ray.shutdown()


class Relay:
    """An actor: what jobs have trained since the driver last asked, and their latest saved states."""

    def __init__(self) -> None:
        self._trained = 0
        self._saved: dict[str, JobResult] = {}

    def trained(self, lane_epochs: int) -> None:
        self._trained += lane_epochs

    def take(self) -> int:
        """Lane epochs trained since the last call."""
        trained, self._trained = self._trained, 0
        return trained

    def save(self, key: str, unfinished: JobResult) -> None:
        self._saved[key] = unfinished

    def saved(self, key: str) -> JobResult | None:
        return self._saved.get(key)

    def forget(self, key: str) -> None:
        """Drop the state saved under `key`, if there is one."""
        self._saved.pop(key, None)


class RayChannel(Channel):
    """Reaches the driver from a worker, through the relay."""

    def __init__(self, relay: Any, key: str) -> None:
        self.relay, self.key = relay, key

    def trained(self, lane_epochs: int) -> None:
        self.relay.trained.remote(lane_epochs)

    def save(self, unfinished: JobResult) -> None:
        self.relay.save.remote(self.key, unfinished)

    def saved(self) -> JobResult | None:
        state: JobResult | None = ray.get(self.relay.saved.remote(self.key))
        return state


_received: dict[str, SharedTask] = {}
"""A worker's task, cached by the id of its object, since reading it again would decode the data again."""


def train_on_worker(
    job: SealedJob, driver: dict[str, str], shared: list[Any], relay: Any, key: str
) -> Answer:
    """The Ray task. `shared`: a reference to the task in the object store, wrapped so that Ray does not resolve it at each call."""
    keep_random_apart(("ray",))
    task = None
    if shared:
        name = shared[0].hex()
        if name not in _received:
            _received.clear()
            _received[name] = ray.get(shared[0])
        task = _received[name]
    return work(job, driver, task, RayChannel(relay, key))


def _connect(address: str, workers: int) -> None:
    """Start or join a cluster. Raises InputError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a local cluster reports to nobody
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address or os.environ.get("RAY_ADDRESS"):
            ray.init(address=address or None, **quiet)
        else:
            ray.init(num_cpus=workers or os.cpu_count() or 1, include_dashboard=False, **quiet)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise InputError(
            f"there is no Ray cluster at {shown_address(address)}: {type(error).__name__}",
            hint="start one with: ray start --head, and give its address: --executor ray:host:6379",
        ) from error
