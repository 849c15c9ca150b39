"""What a measurement asks of the device: to be done, and to compute as a worker does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def wait(device: torch.device) -> None:
    """Until everything that was launched is done; a CPU is always done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def one_thread() -> Iterator[None]:
    """As a worker has it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
