"""`python -m bench.scale PART`: scaling from 1 to 64 workers, the driver's runs per second, a ledger of a million runs.

    workers   n jobs that sleep, on 1 … 64 workers: ideal time ÷ measured time. No training, so two cores suffice.
    driver    finished runs per second that one driver records, when results arrive at once.
    ledger    a ledger of --runs runs: its facts read, opened, resumed, one run recorded, the whole report made.

The session, the ledger and its commits are the real ones; workers are threads of this process that sleep. What is left out: training,
and the transport to other machines.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from ablate.catalogue.registry import registry
from ablate.executors.job import Job, JobResult
from ablate.ledger.entry import Entry
from ablate.ledger.store import Ledger
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.study.request import Options, find
from ablate.study.resume import session_of
from ablate.study.session import Planned, Session
from bench.common import hardware

WORKERS = (1, 4, 16, 64)
EPOCHS = 2
AT_ONCE = 10_000
"""Runs that are written in one transaction when a ledger is made."""
SCHEDULE = Path("/proc/thread-self/schedstat")


class Sleeping:
    """An executor whose `workers` threads sleep for `seconds` instead of training a job."""

    def __init__(self, workers: int, seconds: float) -> None:
        self.workers, self.seconds = workers, seconds
        self._pool = ThreadPoolExecutor(workers)

    def submit(self, job: Job) -> Future[JobResult]:
        return self._pool.submit(self._train, job)

    def _train(self, job: Job) -> JobResult:
        if self.seconds:
            time.sleep(self.seconds)
        return JobResult([sample_result(run) for run in job.runs])

    def set_idle_workers(self, count: int) -> None: ...

    def shutdown(self) -> None:
        self._pool.shutdown()

    def cancel(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def sample_result(run: Run) -> Result:
    """A result of the size of a small classification run's, without per-example scores."""
    accuracy = 0.9 + (run.seed % 97) / 1000
    curves = {"validation/accuracy": (0.8, accuracy), "validation/loss": (0.5, 0.4), "train/loss": (0.6, 0.5)}
    metrics = {name: curve[-1] for name, curve in curves.items()}
    return Result(Outcome.COMPLETE, metrics, curves, epochs=EPOCHS, seconds=1.0)


def planned(count: int, start: int = 0) -> list[Planned]:
    """The runs from `start` to `count`, of ten recipes."""
    recipes = [Recipe.of(registry(), {"momentum": {"lr": 0.1}, "dropout": {"p": i / 20}}) for i in range(10)]
    return [
        Planned(Run("wine", recipes[i % 10], i // 10, EPOCHS), "rank", arm=str(i % 10))
        for i in range(start, count)
    ]


@contextmanager
def open_session(folder: Path, executor: Sleeping, lanes: int) -> Iterator[Session]:
    options = Options(
        folder / "studies", folder / "reports", "cpu", lanes, 1, executor, "loop", command="bench.scale"
    )
    with session_of(find("wine", options), options) as session:
        yield session


def efficiency(workers: int, seconds: float, jobs_each: int, folder: Path) -> float:
    """Ideal time ÷ measured time of `jobs_each` jobs of one run per worker."""
    with open_session(folder, Sleeping(workers, seconds), 1) as session:
        runs = planned(workers * jobs_each)
        started = time.perf_counter()
        session.train(runs)
        return seconds * jobs_each / (time.perf_counter() - started)


def throughput(count: int, lanes: int, folder: Path) -> tuple[float, float, float]:
    """Finished runs per second of wall time, of wall time in which the driver had a core or waited for something else than
    one, and of the driver's processor time."""
    with open_session(folder, Sleeping(64, 0.0), lanes) as session:
        runs = planned(count)
        wall, cpu, kept = time.perf_counter(), time.process_time(), without_a_core()
        session.train(runs)
        wall, kept = time.perf_counter() - wall, without_a_core() - kept
        return count / wall, count / (wall - kept), count / (time.process_time() - cpu)


def without_a_core() -> float:
    """Seconds for which this thread could run and other programs had the cores (Linux; else 0)."""
    if not SCHEDULE.exists():
        return 0.0
    return int(SCHEDULE.read_text().split()[1]) / 1e9


def timed(what: str, call: Callable[[], object]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    print(
        f"  {what:<42} {time.perf_counter() - wall:8.2f} s ({time.process_time() - cpu:.2f} s of processor time)",
        flush=True,
    )


def write_ledger(count: int, path: Path) -> None:
    """A ledger of `count` runs at `path`, written AT_ONCE at a time."""
    with Ledger.open(path, write=True) as ledger:
        for start in range(0, count, AT_ONCE):
            some = planned(min(count, start + AT_ONCE), start)
            ledger.record(Entry(one.run, sample_result(one.run), "rank", arm=one.arm) for one in some)


def memory() -> float:
    """MiB that this process holds now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def ledger_of(count: int, folder: Path, report: bool) -> None:
    """Time a ledger of `count` runs."""
    from ablate.report.build import build

    path = folder / "scale.db"
    write_ledger(count, path)
    print(f"{count:,} runs, {path.stat().st_size / 1e6:,.0f} MB")
    timed("the facts alone", lambda: Ledger.facts_of(path))
    gc.collect()
    before = memory()
    opened: list[Ledger] = []
    timed("open (every row is checked)", lambda: opened.append(Ledger.open(path, write=True)))
    print(f"  {'memory that the open ledger takes':<42} {memory() - before:8.0f} MiB")
    runs = planned(count)
    with opened[0] as ledger:
        timed(
            "resume: which of all runs are not finished",
            lambda: ledger.unfinished(one.run.identity for one in runs),
        )
        extra = replace(runs[0].run, seed=count)
        timed("record one run", lambda: ledger.record([Entry(extra, sample_result(extra), "rank")]))
        thousand = [one.run.identity for one in runs[:: max(1, count // 1000)]]
        timed("read a thousand of them", lambda: ledger.get_all(thousand))
    runs.clear()  # not a part of the report's memory
    opened.clear()
    if not report:
        return
    timed("report: page, plots, CSV files (opens it)", lambda: build(path, folder / "report"))
    written = sum(file.stat().st_size for file in (folder / "report").rglob("*") if file.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1 << 20 if sys.platform == "linux" else 1 << 30
    )
    print(f"  {written / 1e6:,.0f} MB written; peak memory of this process {peak:.1f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("part", choices=("workers", "driver", "ledger"))
    parser.add_argument("--seconds", type=float, default=1.0, help="of a job (workers)")
    parser.add_argument("--jobs", type=int, default=10, help="of each worker (workers)")
    parser.add_argument("--runs", type=int, default=0, help="driver: 20,000; ledger: 1,000,000")
    parser.add_argument("--no-report", dest="report", action="store_false", help="ledger: leave it out")
    given = parser.parse_args()
    print(hardware(torch.device("cpu")))
    with tempfile.TemporaryDirectory() as name:
        if given.part == "workers":
            for workers in WORKERS:
                value = efficiency(workers, given.seconds, given.jobs, Path(name) / str(workers))
                print(
                    f"{workers:3} workers, {workers * given.jobs} jobs of {given.seconds:g} s: efficiency {value:.3f}",
                    flush=True,
                )
        elif given.part == "driver":
            count = given.runs or 20_000
            for lanes in (1, 8, 32):
                wall, undisturbed, cpu = throughput(count, lanes, Path(name) / str(lanes))
                print(
                    f"{count:,} runs, {lanes} a job: {wall:,.0f} runs/s, {undisturbed:,.0f} without the time in which others had the cores, "
                    f"{cpu:,.0f} per second of processor time",
                    flush=True,
                )
        else:
            ledger_of(given.runs or 1_000_000, Path(name), given.report)


if __name__ == "__main__":
    main()
