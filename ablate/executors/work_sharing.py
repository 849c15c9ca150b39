"""Work sharing: a job that runs while other workers are idle ends early, so that its lanes can be split among them.

The driver knows which workers are idle, but a group of lanes can only be split at the end of an epoch, in its worker. So the
driver sets a semaphore to the number of idle workers; a worker that acquires it ends its job with a checkpoint, from which
the driver continues in parts.
"""

from __future__ import annotations

from typing import Protocol


class Semaphore(Protocol):
    """The methods of a `multiprocessing` semaphore that are used here."""

    def acquire(self, block: bool = True) -> bool:
        """Decrement the counter; with `block` False return False instead of waiting."""
        ...

    def release(self) -> None:
        """Increment the counter."""
        ...


_idle: Semaphore | None = None


def attach(idle: Semaphore) -> None:
    """Set this worker's semaphore, before its first job."""
    global _idle
    _idle = idle


def claim_idle_worker() -> bool:
    """Claim one idle worker (called in a worker), if there is one. Never blocks."""
    return _idle is not None and _idle.acquire(block=False)


def set_idle(idle: Semaphore, count: int) -> None:
    """Declare `count` workers idle (called in the driver), whatever was set before."""
    while idle.acquire(block=False):
        pass
    for _ in range(count):
        idle.release()
