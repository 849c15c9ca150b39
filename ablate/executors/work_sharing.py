"""Workers that have nothing to do, told to those that train: one of these may then hand over some of its lanes.

The driver knows which workers wait; only at the end of an epoch can a group be divided. So the driver holds out a token for
each waiting worker, and a worker that takes one ends its job there, to be gone on with in parts.
"""

from __future__ import annotations

from typing import Protocol


class Tokens(Protocol):
    """A semaphore of `multiprocessing`."""

    def acquire(self, block: bool = True) -> bool: ...
    def release(self) -> None: ...


_held: Tokens | None = None


def begin(tokens: Tokens) -> None:
    """In a worker, before its first job."""
    global _held
    _held = tokens


def claim() -> bool:
    """In a worker: take a token, if there is one."""
    return _held is not None and _held.acquire(block=False)


def offer(tokens: Tokens, count: int) -> None:
    """In the driver: from now on there are `count` tokens."""
    while tokens.acquire(block=False):
        pass
    for _ in range(count):
        tokens.release()
