"""Processes from outside: their children, whether they live, and the processor time that they took."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path

ORPHANS = 180.0
"""Seconds that worker processes have to end after their driver; a server that is still importing notices only afterwards, and may have a
hundredth of a core. What is left behind never ends."""


def children(process: int) -> list[int]:
    """Process ids of the children (on Linux; elsewhere none are found). A process that has ended meanwhile has none."""
    processes: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for file in Path(f"/proc/{process}/task").glob("*/children"):
            processes += [int(child) for child in file.read_text().split()]
    return processes


def workers_of(driver: int) -> list[int]:
    """The worker processes: children of the server of forks, which is a child of the driver."""
    return [worker for child in children(driver) for worker in children(child)]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def orphans(processes: list[int]) -> int:
    """How many of `processes` still live after the time that they have to end."""
    end = time.monotonic() + ORPHANS
    while time.monotonic() < end and any(map(alive, processes)):
        time.sleep(0.05)
    return sum(map(alive, processes))


class Clock:
    """Seconds of processor time that a process took, which say how far it has come however busy the machine is (on Linux); or of wall time
    since the clock was made: `wall`, for a driver that waits for its workers."""

    def __init__(self, process: int, *, wall: bool = False) -> None:
        self.process, self.began = process, time.monotonic()
        self.wall = wall or not sys.platform.startswith("linux")

    def seconds(self) -> float:
        """Infinity once the process has ended."""
        if self.wall:
            return time.monotonic() - self.began
        try:
            return time.clock_gettime(~self.process << 3 | 2)  # clock_getcpuclockid(3)
        except OSError:
            return float("inf")
