"""R1: a running study is killed (SIGKILL) again and again, and its ledger checked.

The driver of a tiny study is killed at random moments of every stage, inline and with two worker processes, and restarted; or one of its
workers is, and then perhaps another: the study goes on, or ends with a line that says so. Inline these are
moments of its processor time, so that kills meet the same stages on a busy machine; a driver of workers waits most of the time.
After each kill the ledger is read with plain `sqlite3` and compared with its contents before the kill, with the runs that the driver
had acknowledged, and at the end with an uninterrupted study.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bench.chaos.count import Count, Row, rows, timeless
from bench.chaos.process import Clock, alive, children, orphans, workers_of
from bench.chaos.promise import Tally
from bench.chaos.tiny_study import study_in

PRELOADED = [
    "ablate.study.driver", "ablate.study.resume", "ablate.study.ranking.stage", "ablate.study.confirm", "ablate.study.costs",
]  # fmt: skip
"""Modules that the drivers share: those of all stages but the report, so that a kill meets training rather than imports."""
WORKERS = 2
PATIENCE = 600.0
"""Seconds after which an uninterrupted driver counts as hanging."""
SHARE = 0.9
"""Drivers are killed within this share of the time that a study takes up to its report."""
KILLS_OF_A_STUDY = 4
"""After so many a study is left to end, and compared."""
OPENING, FLOOR = 0.2, 0.4
"""Shares of a study's time: what opening it again takes, and the least from which the moment of a kill is drawn."""
AT_ONCE = 50
"""Kills that are compared with one uninterrupted study."""
KILLED = "a worker process was killed"
"""In the line of a driver that gives up a run whose workers were killed again and again."""


class PipeProgress:
    """A study's progress reporter that sends stages and recorded runs to the parent process."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def stage(self, name: str, lane_epochs: int) -> None:
        self.pipe.send(("stage", name))

    def trained(self, lane_epochs: int) -> None: ...

    def result(self, entry: Any) -> None:
        self.pipe.send(("recorded", entry.identity))

    def say(self, line: str) -> None: ...

    def finish(self, name: str, seconds: float) -> None:
        self.pipe.send(("stage", f"after {name}"))


def drive(folder: Path, executor: str, pipe: Connection, *, report: bool) -> None:
    """One driver: opens the study in `folder` and runs it to its end. `report`: the page, too."""
    from ablate.study.driver import STAGES, run_study
    from ablate.study.request import Options, find
    from ablate.study.resume import session_of

    os.setsid()
    log = os.open(folder / "driver.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    options = Options(folder / "studies", folder / "reports", "cpu", 0, WORKERS, executor, command="chaos")
    opened = find(str(folder / "chaos.toml"), options)
    with session_of(opened, options, PipeProgress(pipe)) as session:
        pipe.send(("stage", "opened"))
        run_study(session, options, STAGES if report else STAGES[:-1])


def start(folder: Path, executor: str, *, report: bool) -> tuple[BaseProcess, Connection]:
    """Start a driver (`drive`) in a separate process, forked from a server that has imported torch."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=drive, args=(folder, executor, theirs), kwargs={"report": report})
    process.start()
    theirs.close()
    return process, ours


def warm_up() -> None:
    """Let the server import torch, so that no study's time includes it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=os.getpid)
    process.start()
    process.join()


def listen(
    pipe: Connection,
    clock: Clock,
    until: float,
    acknowledged: set[str],
    moments: dict[str, float] | None = None,
    *,
    recorded: int | None = None,
    stage: str = "opening",
) -> str:
    """Read the driver's messages until the clock shows `until`, it has `recorded` so many runs and is open, its end, or for `PATIENCE`; returns its
    stage, which was `stage`.

    moments: receives when each stage began.
    """
    moments = {} if moments is None else moments
    end = time.monotonic() + PATIENCE
    try:
        while recorded is None or stage == "opening" or len(acknowledged) < recorded:
            left = end - time.monotonic()
            if until < float("inf"):
                left = min(left, until - clock.seconds())
            if not pipe.poll(max(0.0, left)):
                if left <= 0:
                    break
                continue  # its processor time goes on more slowly than the time
            what, name = pipe.recv()
            if what == "recorded":
                acknowledged.add(name)
                continue
            stage = (
                "report"
                if name == "after costs"
                else name.removeprefix("after ").partition(",")[0].replace("opened", "lr-find")
            )
            moments.setdefault(stage, clock.seconds())
    except EOFError:
        pass
    return stage


def uninterrupted(folder: Path, executor: str, *, report: bool) -> tuple[list[Row], float]:
    """The rows of an uninterrupted study, and the seconds until its report."""
    ledger = study_in(folder)
    seconds = finish(folder, executor, set(), report=report)
    return rows(ledger), seconds


def finish(folder: Path, executor: str, acknowledged: set[str], *, report: bool) -> float:
    """Run the study in `folder` to its end; the seconds of its `Clock` until its report began.

    Raises RuntimeError if the driver fails or hangs.
    """
    moments: dict[str, float] = {}
    process, pipe = start(folder, executor, report=report)
    listen(pipe, clock_of(process, executor), float("inf"), acknowledged, moments)
    process.join(120)
    if process.exitcode != 0:
        process.kill()
        log = (folder / "driver.log").read_text().strip().splitlines()
        raise RuntimeError(f"the driver ended with {process.exitcode}: {log[-1] if log else 'silently'}")
    return moments["report"]


def clock_of(process: BaseProcess, executor: str) -> Clock:
    assert process.pid is not None
    return Clock(process.pid, wall=executor != "inline")


def chaos(
    folder: Path, kills: int, executors: tuple[str, ...], seed: int = 0, *, report: bool = True
) -> Count:
    """Kill studies `kills` times, alternating `executors`; returns what the checks found. `report`: they build their pages, too.

    executors: "inline"; "processes", of which the driver or a worker is killed, at random; "workers", of which a worker is.
    """
    draw = random.Random(seed)
    warm_up()
    reference: list[Row] = []
    spans = {}
    for name in dict.fromkeys(map(executor_of, executors)):
        reference, spans[name] = uninterrupted(folder / f"uninterrupted-{name}", name, report=report)
    expected = timeless(reference)
    count = Count()
    study = 0
    while count.kills < kills:
        study_folder = folder / f"study-{study}"
        ledger, before, over = study_in(study_folder), list[Row](), False
        left, here = 1.0, 0  # the share of a study that is to come, about; kills of this one
        while not over and count.kills < kills:
            kind = executors[count.kills % len(executors)]
            executor = executor_of(kind)
            acknowledged: set[str] = set()
            share = draw.random() * left * SHARE
            of_worker = kind == "workers" or (kind == "processes" and draw.random() < 0.5)
            if of_worker:
                missing, most = len(expected) - len(before), kills - count.kills
                killed, stage = kill_workers(
                    study_folder, missing, most, acknowledged, count, draw, report=report
                )
            else:
                after = share * spans[executor]
                killed, stage = kill(study_folder, executor, after, acknowledged, count, report=report)
            left, here = max(left - share + OPENING, FLOOR), here + 1
            count.kills += killed
            count.workers += killed if of_worker else 0
            if killed and not of_worker:
                count.moments[stage] += killed
            before = count.check(ledger, before, acknowledged)
            over = not killed or of_worker or stage == "report" or here == KILLS_OF_A_STUDY
        acknowledged = set()
        finish(study_folder, executor_of(executors[study % len(executors)]), acknowledged, report=report)
        ours = timeless(count.check(ledger, before, acknowledged, ended=True))
        count.different += sum(ours.get(name) != expected.get(name) for name in ours.keys() | expected.keys())
        study += 1
    return count


def executor_of(kind: str) -> str:
    """The executor of the drivers of which "inline", "processes" or "workers" are killed."""
    return "inline" if kind == "inline" else "processes"


def kill(
    folder: Path,
    executor: str,
    after: float,
    acknowledged: set[str],
    count: Count,
    *,
    report: bool,
) -> tuple[int, str]:
    """Start a driver and kill it after `after` seconds of its `Clock`; returns 1 if that was before its end, else 0, and its stage."""
    process, pipe = start(folder, executor, report=report)
    clock = clock_of(process, executor)
    stage = listen(pipe, clock, after, acknowledged)
    assert process.pid is not None
    below = children(process.pid)
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.join(120)
    listen(pipe, clock, float("inf"), acknowledged)  # messages sent before it died
    count.orphans += orphans(below)
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the driver ended with {process.exitcode}: {(folder / 'driver.log').read_text()}")
    return int(process.exitcode != 0), stage


def kill_workers(
    folder: Path,
    runs: int,
    most: int,
    acknowledged: set[str],
    count: Count,
    draw: random.Random,
    *,
    report: bool,
) -> tuple[int, str]:
    """Start a driver of which `runs` runs are missing, kill one of its workers at one of them, perhaps others later (`most` in all), and let it
    go on to its end; returns how many were killed, and its stage at the last. (A moment in time would mostly meet workers that are importing.)

    Raises RuntimeError unless it ends well or with the line that a worker was killed.
    """
    process, pipe = start(folder, "processes", report=report)
    clock, killed, below = clock_of(process, "processes"), 0, list[int]()
    assert process.pid is not None
    recorded, stage = 0, "opening"
    while process.is_alive() and killed < most and (not killed or draw.random() < 0.5):
        recorded = draw.randrange(recorded, max(recorded, runs) + 1)
        stage = listen(pipe, clock, float("inf"), acknowledged, recorded=recorded, stage=stage)
        stage = listen(pipe, clock, clock.seconds() + draw.uniform(0, 0.1), acknowledged, stage=stage)
        workers = [worker for worker in workers_of(process.pid) if alive(worker)]
        below = [*below, *workers, *children(process.pid)]
        if workers:
            with suppress(ProcessLookupError):
                os.kill(draw.choice(workers), signal.SIGKILL)
                killed += 1
                count.moments[f"{stage} (worker)"] += 1
    listen(pipe, clock, float("inf"), acknowledged)
    process.join(120)
    count.orphans += orphans(below)
    log = (folder / "driver.log").read_text()
    if process.exitcode != 0 and not (process.exitcode == 1 and KILLED in log.strip().splitlines()[-1]):
        process.kill()
        raise RuntimeError(f"the driver ended with {process.exitcode}: {log}")
    return killed, stage


def check(folder: Path, count: int, seed: int, tally: Tally) -> None:
    """`count` kills, a few studies at a time."""
    while count and not tally.late:
        kills = min(count, AT_ONCE)
        outcome = chaos(
            folder / str(count), kills, ("inline", "inline", "processes"), seed=1000 * seed + count
        )
        tally.count += outcome.kills
        tally.failed += [] if outcome.clean else [outcome.line()]
        count -= kills
