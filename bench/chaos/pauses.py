"""R2: a worker is stopped (SIGSTOP) in the middle of a study and goes on later: each run has one result, that of an undisturbed study."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from pathlib import Path

from bench.chaos.count import Count, timeless
from bench.chaos.kills import (
    listen,
    start,
    uninterrupted,
    warm_up,
)
from bench.chaos.process import Clock, workers_of
from bench.chaos.promise import Tally
from bench.chaos.tiny_study import study_in

LONGEST = 10.0
"""Seconds of a pause: longer than any time-out of a driver that waits for a worker."""


def paused(
    folder: Path, recorded: int, draw: random.Random, acknowledged: set[str]
) -> tuple[bool, int | None]:
    """Run the study in `folder` with one pause of a worker, soon after `recorded` runs are recorded (a moment in time would mostly meet a study without
    workers); (whether one was there to be paused, the driver's exit code)."""
    process, pipe = start(folder, "processes", report=False)
    assert process.pid is not None
    clock = Clock(process.pid, wall=True)
    stage = listen(pipe, clock, float("inf"), acknowledged, recorded=recorded)
    listen(pipe, clock, clock.seconds() + draw.uniform(0, 0.1), acknowledged, stage=stage)
    workers = workers_of(process.pid)
    if workers:
        chosen = draw.choice(workers)
        with suppress(ProcessLookupError):
            os.kill(chosen, signal.SIGSTOP)
            listen(pipe, clock, clock.seconds() + draw.uniform(0.5, LONGEST), acknowledged)
            os.kill(chosen, signal.SIGCONT)
    listen(pipe, clock, float("inf"), acknowledged)
    process.join(120)
    process.kill()
    return bool(workers), process.exitcode


def check(folder: Path, count: int, seed: int, tally: Tally) -> None:
    """`count` studies, each with one pause."""
    draw = random.Random(seed)
    warm_up()
    reference, _ = uninterrupted(folder / "uninterrupted", "processes", report=False)
    expected = timeless(reference)
    for turn in range(2 * count):
        if tally.late or tally.count >= count:
            return
        place, acknowledged = folder / f"study-{turn}", set[str]()
        ledger = study_in(place)
        there, code = paused(place, draw.randrange(len(expected)), draw, acknowledged)
        seen = Count()
        ours = timeless(seen.check(ledger, [], acknowledged, ended=True))
        if code != 0 or not seen.clean or ours != expected:
            tally.add(f"pause {turn}: exit {code}, {seen.line()}, the study's runs: {ours == expected}")
        elif there:
            tally.add("")
