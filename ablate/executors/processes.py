"""Run jobs in worker processes of one thread each.

On a CPU two processes of one thread train small models faster than one process of two threads, and a
single thread adds up in one order, so that results do not depend on the machine's number of cores.
Workers leave Ctrl-C to the driver, and end when the driver ends, however it ends.

On Linux they are forked from a server that has imported what they need, once for all of them and while the driver
still imports its own (`prepare`); elsewhere each is started anew.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import forkserver
from multiprocessing.queues import SimpleQueue
from typing import TYPE_CHECKING, Any

from ablate.executors import work_sharing

if TYPE_CHECKING:  # a worker imports this module: torch is to be imported after the watch has begun
    from ablate.executors.job import Progress

_queue: SimpleQueue[int | None] | None = None
FORKS = sys.platform == "linux"
NEEDED = ("ablate.executors.job", "llvmlite.binding", "llvmlite.ir")


def prepare(also: Iterable[str] = ()) -> None:
    """Let the server that workers are forked from begin to import; returns at once. Not needed, but sooner is faster.

    `also`: modules that the task will need. The server imports when it begins; later calls change nothing.
    """
    if FORKS:
        multiprocessing.set_forkserver_preload([*NEEDED, *also])
        forkserver.ensure_running()


class Processes(ProcessPoolExecutor):
    """A pool of `workers` processes; `progress` is called in the driver."""

    def __init__(self, workers: int, progress: Progress | None = None) -> None:
        prepare()
        context = multiprocessing.get_context("forkserver" if FORKS else "spawn")
        self.workers = workers
        self._progress: SimpleQueue[int | None] = context.SimpleQueue()
        self._spare = context.Semaphore(0)
        super().__init__(workers, context, _begin, (self._progress, self._spare))
        self._listener = threading.Thread(target=_listen, args=(self._progress, progress), daemon=True)
        self._listener.start()

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(_call, call, args, kwargs)

    def offer(self, waiting: int) -> None:
        """Tell the workers that so many of them have nothing to do (see `spare`)."""
        work_sharing.offer(self._spare, waiting)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        if self._listener.is_alive():
            self._progress.put(None)
            self._listener.join(timeout=5)

    def kill(self) -> None:
        """End the workers at once; what they were training is lost (the ledger has the rest)."""
        for process in list((self._processes or {}).values()):
            process.kill()
        # Not this class's shutdown: a worker may have died while it held the lock of the queue that the listener's end is put into.
        super().shutdown(wait=True, cancel_futures=True)


def _begin(queue: SimpleQueue[int | None], tokens: work_sharing.Tokens) -> None:
    global _queue
    _queue = queue
    work_sharing.begin(tokens)
    sys.stdout = sys.stderr  # standard output belongs to the driver's answer, also where a task file prints
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, daemon=True).start()
    keep_memory()
    import torch

    torch.set_num_threads(1)
    gc.freeze()  # what was imported lives on: to look through it again and again takes a tenth of a small step's time


def _watch() -> None:
    """End this process when the driver is gone (also by kill -9, after which nobody tells it)."""
    driver = multiprocessing.parent_process()
    assert driver is not None
    driver.join()
    os._exit(1)


def keep_memory() -> None:
    """Let freed memory stay with the process, where the C library can be told so.

    The tensors of a step are freed and asked for again at the next. By default glibc maps the larger ones anew
    each time, and the system clears every page of them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if FORKS else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, (1 << 31) - 1)
        mallopt(top_pad, 64 << 20)


def _call(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    assert _queue is not None
    return call(*args, progress=_queue.put, **kwargs)


def _listen(queue: SimpleQueue[int | None], progress: Progress | None) -> None:
    while (trained := queue.get()) is not None:
        if progress is not None:
            progress(trained)
