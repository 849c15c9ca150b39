"""Run jobs in worker processes of one thread each.

On a CPU, two processes of one thread train small models faster than one process of two threads, and a
single thread sums in one order, so that results do not depend on the machine's number of cores.
Workers ignore Ctrl-C and the other signals that the driver answers, and exit when the driver is gone, even after `kill -9`.

On Linux they are forked from a server that has imported torch and ablate once for all of them, while the driver is
still importing (`preload`); elsewhere each is spawned.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import forkserver, resource_tracker
from multiprocessing.queues import SimpleQueue
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

from ablate.executors import work_sharing
from ablate.executors.progress import Progress

if (
    TYPE_CHECKING
):  # a worker imports this module: torch must be imported after `_exit_with_driver` has started
    from ablate.executors.job import Job, JobResult
    from ablate.executors.shared_task import SharedTask

_queue: SimpleQueue[int | None] | None = None
FORKS = sys.platform == "linux"
GROUP_SIGNALS = {
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
}
"""Signals that reach a whole process group; the driver answers them."""
PRELOADED = ("ablate.executors.job", "llvmlite.binding", "llvmlite.ir")


def preload(modules: Iterable[str] = ()) -> None:
    """Start the server that workers are forked from, which imports in the background. Optional: it saves start-up time.

    `modules`: what the task will import, in addition. The first call decides; later calls change nothing.
    """
    if FORKS:
        multiprocessing.set_forkserver_preload([*PRELOADED, *modules])
        # Both processes inherit the mask: a signal to the whole group, Ctrl-C above all, would end them with a traceback
        # while they import. They end when their pipe to the driver is closed, however the driver ends.
        with _signals_blocked(), _unwarned():
            resource_tracker.ensure_running()  # unblocks some signals
        with _signals_blocked():
            forkserver.ensure_running()
        atexit.register(_end_server)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Context in which `GROUP_SIGNALS` wait; processes started in it begin with them blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _unwarned() -> Iterator[None]:
    """Context in which the resource tracker begins without its warning. It releases what a driver that is ended at once leaves behind, and
    would say so after the driver's own last line."""
    sys.warnoptions.append(
        "ignore:resource_tracker:UserWarning"
    )  # inherited as an option of the command line
    try:
        yield
    finally:
        sys.warnoptions.remove("ignore:resource_tracker:UserWarning")


def _end_server() -> None:
    """End the server at once: a server that is still importing would outlive the driver by seconds."""
    process = getattr(getattr(forkserver, "_forkserver", None), "_forkserver_pid", None)
    if process:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


class Processes:
    """A pool of `workers` processes; `progress` is called in a thread of the driver. A context manager: leaving it is `shutdown`.

    `gpus`: a value of CUDA_VISIBLE_DEVICES for each worker, whose device `cuda` is then that GPU.
    When a worker is killed, the futures of all unfinished jobs raise BrokenExecutor; the next job starts new workers.
    """

    def __init__(self, workers: int, progress: Progress | None = None, *, gpus: tuple[str, ...] = ()) -> None:
        preload()
        self.workers, self._callback, self._gpus = workers, progress, gpus
        self._shared: SharedTask | None = None
        self._start()

    def _start(self) -> None:
        """Create the pool and its queue. New workers get a new queue: a killed worker may hold the lock of the old one."""
        context = multiprocessing.get_context("forkserver" if FORKS else "spawn")
        self._progress: SimpleQueue[int | None] = context.SimpleQueue()
        self._idle = context.Semaphore(0)
        gpus: SimpleQueue[str] | None = context.SimpleQueue() if self._gpus else None
        for gpu in self._gpus:
            assert gpus is not None
            gpus.put(gpu)
        self._pool = ProcessPoolExecutor(
            self.workers, context, _initialize_worker, (self._progress, self._idle, self._shared, gpus)
        )
        self._listener = threading.Thread(target=_listen, args=(self._progress, self._callback), daemon=True)
        self._listener.start()

    def submit(self, job: Job) -> Future[JobResult]:
        from ablate.executors.job import run_job

        if job.shared is None:
            return self.call(run_job, job)
        if self._shared is None or self._shared.reference != job.shared.reference:
            self.shutdown()
            self._shared = job.shared
            self._start()
        with _main_not_imported():  # workers received what they need of it by value
            return self.call(run_job, replace(job, shared=None))

    def call(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """`function(*args, progress=…)` in a worker; both must be picklable."""
        try:
            return self._pool.submit(_call, function, args)
        except BrokenExecutor:
            self.cancel()
            self._start()
            return self._pool.submit(_call, function, args)

    def set_idle_workers(self, count: int) -> None:
        work_sharing.set_idle(self._idle, count)

    def shutdown(self) -> None:
        self._pool.shutdown()
        if self._listener.is_alive():
            self._progress.put(None)
            self._listener.join(timeout=5)

    def cancel(self) -> None:
        """Kill the workers. A second call has no effect."""
        for process in list((self._pool._processes or {}).values()):
            process.kill()
        # The listener thread ends with this process: a worker may have died holding the lock of the queue that would stop it.
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()


@contextmanager
def _main_not_imported() -> Iterator[None]:
    """Processes that start inside this context do not import the caller's main module: a script without `if __name__ == "__main__"`
    would run again in each of them."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _initialize_worker(
    queue: SimpleQueue[int | None],
    idle: work_sharing.Semaphore,
    shared: SharedTask | None = None,
    gpus: SimpleQueue[str] | None = None,
) -> None:
    global _queue
    _queue = queue
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus.get()  # before anything asks CUDA for its devices
    work_sharing.attach(idle)
    sys.stdout = (
        sys.stderr
    )  # standard output is reserved for the driver's output, whatever a task file prints
    for number in GROUP_SIGNALS - {signal.SIGTERM}:  # the signal with which the pool ends its workers
        signal.signal(number, signal.SIG_IGN)
    if FORKS:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
    threading.Thread(target=_exit_with_driver, daemon=True).start()
    retain_freed_memory()
    import torch

    torch.set_num_threads(1)
    if shared is not None:
        shared.remember()
    gc.freeze()  # imported objects are never freed: scanning them at every collection takes a tenth of a small step's time


def _exit_with_driver() -> None:
    """Exit when the driver is gone, however it ended."""
    driver = multiprocessing.parent_process()
    assert driver is not None
    driver.join()
    os._exit(1)


def retain_freed_memory() -> None:
    """Keep freed memory in the process, where the C library supports it (glibc's `mallopt`).

    A step frees its tensors and the next one allocates them again. By default glibc maps large ones again
    each time, and the kernel clears every page.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if FORKS else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, (1 << 31) - 1)
        mallopt(top_pad, 64 << 20)


def _call(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    assert _queue is not None
    return function(*args, progress=_queue.put)


def _listen(queue: SimpleQueue[int | None], progress: Progress | None) -> None:
    while (trained := queue.get()) is not None:
        if progress is not None:
            progress(trained)
