"""A group that trains is divided when workers wait: the same results, bit for bit, each recorded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from study_samples import place

from ablate.catalogue.registry import registry
from ablate.executors import job as job_module
from ablate.executors import work_sharing
from ablate.executors.inline import Inline
from ablate.executors.job import Job, run_job
from ablate.executors.processes import Processes
from ablate.lanes import checkpoint
from ablate.lanes.context import TaskContext
from ablate.lanes.train import train
from ablate.lanes.training import Paused, Training
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.study.request import find
from ablate.study.resume import session_of
from ablate.study.session import Planned
from ablate.tasks.load import load

CATALOGUE = registry()
EPOCHS = 4
RECIPES = (
    {"momentum": {"lr": 0.05}, "batch_norm": {}, "dropout": {"p": 0.3}},
    {"adam": {"lr": 0.003}, "activation": {"kind": "gelu"}},
    {"momentum": {"lr": 1e30}, "group_norm": {}},  # diverges, and takes the only group norm with it
    {"momentum": {"lr": 0.02}, "label_smoothing": {}, "ema": {}},
    {"rmsprop": {"lr": 0.002}, "dropout": {"p": 0.1}, "early_stopping": {"patience": 1}},
    {"momentum": {"lr": 0.05}, "batch_norm": {"momentum": 0.3}},
)


def runs_of(task: str, epochs: int = EPOCHS) -> tuple[Run, ...]:
    return tuple(Run(task, Recipe.of(CATALOGUE, r), seed, epochs) for seed, r in enumerate(RECIPES))


def without_durations(results: Sequence[Result | None]) -> list[str]:
    """Text, because NaN is not equal to itself."""
    assert None not in results
    return [
        repr((str(r.outcome), dict(r.metrics), dict(r.curves), dict(r.scores), r.epochs, r.note))
        for r in results
        if r is not None
    ]


class Semaphore:
    """A semaphore within one process."""

    def __init__(self, count: int) -> None:
        self.count = count

    def acquire(self, block: bool = True) -> bool:
        had = self.count > 0
        self.count -= had
        return had

    def release(self) -> None:
        self.count += 1


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> Iterator[Semaphore]:
    """This process is a worker's, and no group is too short to be divided."""
    tokens = Semaphore(0)
    monkeypatch.setattr(work_sharing, "_idle", tokens)
    monkeypatch.setattr(job_module, "MIN_SECONDS", 0.0)
    return tokens


@pytest.mark.parametrize(
    ("task", "kernel"),
    [
        ("digits", "compiled"),
        ("breast-cancer", "batched"),
        ("breast-cancer", "vmap"),
        ("breast-cancer", "loop"),
    ],
)
def test_a_group_that_is_divided_twice_ends_as_the_whole(task: str, kernel: str) -> None:
    context = TaskContext.of(load(task), CATALOGUE, torch.device("cpu"), kernel)
    runs = runs_of(task)
    whole = dict(zip(runs, train(context, runs), strict=True))
    assert whole[runs[2]].outcome is Outcome.DIVERGED
    results: dict[Run, Result] = {}

    def part(runs: Sequence[Run], state: bytes, after: int) -> None:
        def begun() -> Training:
            training = checkpoint.loads(state, context)
            training.keep(runs)
            return training

        calls = []
        try:
            results.update(
                zip(
                    runs,
                    train(
                        context,
                        runs,
                        pause=lambda training: calls.append(1) or len(calls) == after,
                        begun=begun if state else None,
                    ),
                    strict=True,
                )
            )
        except Paused as paused:
            ended = paused.training.results
            results.update({run: ended[run.identity] for run in runs if run.identity in ended})
            left = [run for run in runs if run.identity not in ended]
            rest = checkpoint.dumps(paused.training)
            part(left[1::2], rest, after + 1)  # in other orders than they stood in
            part(left[0::2][::-1], rest, after + 1)

    part(runs, b"", 1)
    assert set(results) == set(runs)
    assert without_durations([results[run] for run in runs]) == without_durations(list(whole.values()))


def test_a_job_hands_over_only_where_a_worker_waits_and_it_is_worth_it(
    tokens: Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("breast-cancer", runs_of("breast-cancer"))
    whole = run_job(job)
    assert whole.checkpoint == b""
    tokens.count = 1
    halfway = run_job(job)
    assert tokens.count == 0
    assert halfway.checkpoint
    ended = [result for result in halfway.results if result is not None]
    left = tuple(run for run, result in zip(job.runs, halfway.results, strict=True) if result is None)
    rest = run_job(Job(job.reference, left, checkpoint=halfway.checkpoint))
    assert sorted(without_durations([*ended, *rest.results])) == sorted(without_durations(whole.results))
    tokens.count = 1
    assert run_job(Job(job.reference, job.runs, prune=lambda report: None)).checkpoint == b"", (
        "pruned as one group"
    )
    assert run_job(Job(job.reference, job.runs, lanes=3)).checkpoint == b"", "some wait within the group"
    assert run_job(Job(job.reference, job.runs[:3])).checkpoint == b"", "too few lanes for two parts"
    monkeypatch.setattr(job_module, "MIN_SECONDS", 100.0)
    assert run_job(job).checkpoint == b"", "soon over"
    assert tokens.count == 1


def test_a_session_goes_on_with_the_parts_and_records_each_run_once(
    tokens: Semaphore, tmp_path: Path
) -> None:
    here = place(tmp_path, study='[baseline]\noptimizer = { name = "momentum", lr = 0.1 }\n')
    options = here.options()
    opened = find(str(tmp_path / "tiny.toml"), options)
    entries = []
    for name, count in (("whole", 0), ("divided", 1)):
        with session_of(replace(opened, name=name), options) as session:
            session.workers = 3
            tokens.count = count
            runs = runs_of(session.context.task.name)
            planned = [Planned(run, "select") for run in runs]
            session.lanes = 16
            session.submit(planned, prune=Never())
            entries.append(session.collect(planned))
            assert session.spent["forward"] > 0
        assert tokens.count == 0
    for whole, divided in zip(*entries, strict=True):
        assert whole.identity == divided.identity
        assert without_durations([whole.result]) == without_durations([divided.result])


class Never:
    """A pruner that never prunes: the runs of a call are one group."""

    never = True

    def __call__(self, report: object) -> list[bool]:
        raise AssertionError

    def with_finished(self, results: object) -> Never:
        return self


def test_a_worker_takes_the_token_that_the_driver_holds_out() -> None:
    # Four seconds on a 2-core CPU: what is left at the first chance must take one, on a faster machine too.
    runs = runs_of("digits", 64)
    with Processes(2) as pool:
        pool.set_idle_workers(3)
        pool.set_idle_workers(1)  # what was offered before is off
        first = pool.submit(Job("digits", runs[:2] + runs[3:])).result()
        second = pool.submit(Job("digits", runs[:2], checkpoint=first.checkpoint))
        third = pool.submit(Job("digits", runs[3:], checkpoint=first.checkpoint))
        parts = [second.result(), third.result()]
    assert first.checkpoint
    assert not any(part.checkpoint for part in parts), "one token, one division"
    whole = Inline().submit(Job("digits", runs[:2] + runs[3:])).result()
    assert without_durations([*parts[0].results, *parts[1].results]) == without_durations(whole.results)
