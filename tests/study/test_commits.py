"""How many transactions quick jobs take: one each would wait for the disk more than for anything else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest

from ablate.catalogue.registry import registry
from ablate.cli.signals import Stopped
from ablate.executors.job import Job, JobResult
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.study import session as session_module
from ablate.study.request import Options, find
from ablate.study.resume import session_of
from ablate.study.session import Planned, Session

RUNS = 200


class AtOnce:
    """An executor whose jobs are done when they are submitted; it is interrupted at the job `stop`."""

    workers = 4

    def __init__(self, stop: int = -1, signal: type[BaseException] = KeyboardInterrupt) -> None:
        self.stop, self.signal, self.submitted = stop, signal, 0

    def submit(self, job: Job) -> Future[JobResult]:
        self.submitted += 1
        if self.submitted == self.stop:
            raise self.signal
        future: Future[JobResult] = Future()
        future.set_result(
            JobResult([Result(Outcome.COMPLETE, {"validation/accuracy": 0.9}) for _ in job.runs])
        )
        return future

    def set_idle_workers(self, count: int) -> None: ...
    def shutdown(self) -> None: ...
    def cancel(self) -> None: ...


@contextmanager
def commits(folder: Path, executor: AtOnce) -> Iterator[tuple[Session, list[int]]]:
    """A session, and the number of runs in each of its transactions."""
    options = Options(folder / "studies", folder / "reports", "cpu", 1, 1, executor, "loop", command="test")
    with session_of(find("wine", options), options) as session:
        sizes: list[int] = []
        record = session.ledger.record
        session.ledger.record = lambda entries: (sizes.append(len(entries)), record(entries))[1]
        yield session, sizes


def plan() -> list[Planned]:
    recipe = Recipe.of(registry(), {"momentum": {"lr": 0.1}})
    return [Planned(Run("wine", recipe, seed, 2), "rank") for seed in range(RUNS)]


def test_quick_jobs_are_recorded_together(tmp_path, monkeypatch):
    monkeypatch.setattr(session_module, "COMMIT_SECONDS", 1e6)
    with commits(tmp_path, AtOnce()) as (session, sizes):
        session._recorded = -1e9
        entries = session.train(plan())
        assert [entry.run.seed for entry in entries] == list(range(RUNS))
        assert sizes == [1, 64, 64, 64, 7]
        session.train(plan())
        assert sum(sizes) == RUNS, "a finished run is not trained again"


def test_a_job_that_takes_long_is_recorded_when_it_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(session_module, "COMMIT_SECONDS", 0.0)
    with commits(tmp_path, AtOnce()) as (session, sizes):
        session.submit(plan())
        assert sizes == [1] * RUNS


@pytest.mark.parametrize("signal", [KeyboardInterrupt, Stopped])
@pytest.mark.parametrize("seconds", [0.0, 1e6])
def test_an_interruption_keeps_what_was_done(tmp_path, monkeypatch, seconds, signal):
    monkeypatch.setattr(session_module, "COMMIT_SECONDS", seconds)
    with commits(tmp_path, AtOnce(stop=100, signal=signal)) as (session, sizes):
        with pytest.raises(signal):
            session.train(plan())
        assert sum(sizes) == len(session.ledger.finished()) == 99
