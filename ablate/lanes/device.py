"""For measurements: wait for the device, and compute with the number of threads that a worker has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def wait(device: torch.device) -> None:
    """Wait until everything launched on the device is done; returns at once on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def one_thread() -> Iterator[None]:
    """Context: the number of threads that a worker has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
