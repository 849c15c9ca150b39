"""Concurrent measurements in several processes."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any

import torch

from ablate.catalogue.registry import registry
from ablate.executors.processes import retain_freed_memory
from ablate.lanes.context import TaskContext
from ablate.tasks.load import load
from bench.group import lanes_alone
from bench.solo import resident

Side = Callable[[], float]
"""Milliseconds a step of one run."""


def in_processes(make: Callable[[], Side], processes: int) -> float:
    """Milliseconds a step of any run, each process measuring what `make` (picklable) makes in it; NaN where one failed."""
    context = get_context("spawn")
    ready, results = context.Barrier(processes), context.SimpleQueue()
    workers = [context.Process(target=_worker, args=(make, ready, results)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    times = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return float(torch.tensor(times, dtype=torch.float64).max()) / processes  # torch's max keeps NaN


def _worker(make: Callable[[], Side], ready: Barrier, results: Any) -> None:
    retain_freed_memory()
    torch.set_num_threads(1)
    try:
        side = make()
        side()  # warm
        ready.wait()
        results.put(side())
    except Exception:  # noqa: BLE001 - the other processes must not wait for this one
        traceback.print_exc()
        ready.abort()
        results.put(float("nan"))


def solo_side(reference: str, device: str, *, graph: bool) -> Side:
    return partial(resident, load(reference), torch.device(device), graph=graph)


def lanes_side(reference: str, kernel: str, lanes: int) -> Side:
    return partial(
        lanes_alone,
        TaskContext.of(load(reference), registry(), torch.device("cpu"), kernel),
        lanes,
        bf16=False,
    )
