"""A study has the same numbers whoever trains it: in any order, with lost workers, with workers that see the model differently, after errors."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from small_study import Heard, rows, study

from ablate.executors.job_error import JobError
from ablate.tasks import user_code

TRIALS = 12
MANY, LANES = 20, 4
"""A search whose groups have several runs besides one that raises."""
OUTCOME = 1


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list:
    return rows(study(tmp_path_factory.mktemp("inline"), "inline", trials=TRIALS))


class Unkind(Executor):
    """Trains jobs one at a time in a random order, and loses the worker of half of them, before or after the training."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.jobs: list = []
        self.losses: Counter[str] = Counter()
        self.changed = threading.Condition()
        self.ended = False
        self.thread = threading.Thread(target=self.train, daemon=True)
        self.thread.start()

    def submit(self, function, job, *args):
        future: Future = Future()
        with self.changed:
            self.jobs.append((future, function, job, args))
            self.changed.notify()
        return future

    def train(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.jobs or self.ended)
                self.changed.wait(0.02)  # others may come
                if self.ended:
                    return
                future, function, job, args = self.jobs.pop(self.random.randrange(len(self.jobs)))
            if not future.set_running_or_notify_cancel():
                continue
            identities = [run.identity for run in job.open().runs]
            lost = max(self.losses[identity] for identity in identities) < 2 and self.random.random() < 0.5
            if lost:
                self.losses.update(identities)
                if self.random.random() < 0.5:
                    function(job, *args)
                future.set_exception(ConnectionError("the node is gone"))
            else:
                future.set_result(function(job, *args))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify()


@pytest.mark.parametrize("seed", range(2))
def test_in_any_order_and_with_lost_workers(tmp_path, expected, seed):
    pool = Unkind(seed)
    got = rows(study(tmp_path, pool, trials=TRIALS))
    pool.shutdown()
    assert sum(pool.losses.values()) > 2
    assert got == expected


@pytest.mark.slow
def test_all_stages_in_any_order_and_with_lost_workers(tmp_path):
    stages = ("search", "rank", "confirm")
    pool = Unkind(0)
    got = rows(study(tmp_path / "unkind", pool, stages=stages))
    pool.shutdown()
    assert got == rows(study(tmp_path / "inline", "inline", stages=stages))


def test_the_drivers_probe_of_the_model_counts(tmp_path, expected, monkeypatch):
    """A probe in a worker can turn out otherwise: a thread of the engine draws random numbers while the model is tried. Lanes that
    then train alone are not compared by the pruner."""
    main = threading.main_thread()
    monkeypatch.setattr(
        "ablate.lanes.capabilities.uses_global_rng",
        lambda module, x: threading.current_thread() is not main,
    )
    with ThreadPoolExecutor(2) as pool:
        assert rows(study(tmp_path, pool, trials=TRIALS)) == expected


@pytest.mark.parametrize("draw", [random.random, np.random.rand])
def test_only_what_a_call_draws_itself_counts(draw):
    """Another thread draws during the first call, as an event loop does now and then."""
    calls = []

    def call() -> None:
        calls.append(None)
        if len(calls) == 1:
            other = threading.Thread(target=draw)
            other.start()
            other.join()

    assert not user_code.draws(call)
    assert len(calls) == 2
    assert user_code.draws(draw)
    assert user_code.draws(lambda: torch.rand(()))
    assert not user_code.draws(int)


class Raising(ThreadPoolExecutor):
    """The training of a job with the run `culprit` raises an exception, `times` times; the culprit is a run of the first group.

    seconds: what a job of one run takes in addition, so that the results of several do not arrive together.
    """

    def __init__(self, times: int, seconds: float = 0.0) -> None:
        super().__init__(1)
        self.times, self.culprit, self.seconds = times, "", seconds

    def submit(self, function, job, *args):
        identities = [run.identity for run in job.open().runs]
        self.culprit = self.culprit or identities[1]
        if self.culprit in identities and self.times > 0:
            self.times -= 1
            future: Future = Future()
            future.set_result(JobError("OSError: cannot read", "small_task.py:3", False, "the traceback"))
            return future
        if len(identities) == 1 and self.seconds:
            super().submit(time.sleep, self.seconds)
        return super().submit(function, job, *args)


def test_an_exception_that_does_not_come_again_changes_nothing(tmp_path, expected):
    with Raising(times=1) as pool:
        assert rows(study(tmp_path, pool, trials=TRIALS)) == expected
        assert pool.times == 0


def test_runs_beside_one_that_raises_are_the_same_in_a_resumed_study(tmp_path):
    """They train as one group without it, so that they are pruned alike wherever the study is interrupted."""
    with Raising(times=1000) as pool:
        whole = rows(study(tmp_path / "whole", pool, trials=MANY, lanes=LANES))
    assert [row[OUTCOME] for row in whole if row[0] == pool.culprit] == ["failed"]
    assert {"pruned", "complete"} <= {row[OUTCOME] for row in whole}

    def interrupt(results: int) -> None:
        if results == 2:
            raise KeyboardInterrupt

    here = tmp_path / "interrupted"
    with Raising(times=1000, seconds=0.5) as pool, pytest.raises(KeyboardInterrupt):
        study(here, pool, Heard(interrupt), trials=MANY, lanes=LANES)
    assert 1 < len(rows(here / "studies" / "small.db")) < len(whole)
    with Raising(times=1000) as again:
        again.culprit = pool.culprit
        assert rows(study(here, again, trials=MANY, lanes=LANES)) == whole
