"""Inline and Processes: the same results, the same errors, and workers that never outlive their driver."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

import executor_calls as calls
import pytest

from ablate.catalogue.registry import registry
from ablate.executors.inline import Inline
from ablate.executors.job import Job, context_of
from ablate.executors.job_error import error_location
from ablate.executors.processes import Processes
from ablate.lanes.phase_timer import PHASES
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Run

TASK = """
import torch
from torch import nn
from ablate.tasks.task import Task
x = torch.linspace(-1, 1, 60)[:, None].repeat(1, 3)
task = Task(model=lambda: nn.Linear(3, 2), train=(x, (x[:, 0] > 0).long()), epochs=2, batch_size=8)
"""


@pytest.fixture(scope="module")
def pool():
    heard = []
    with Processes(2, heard.append) as executor:
        executor.heard = heard
        yield executor


@pytest.fixture
def job(tmp_path):
    context_of.cache_clear()
    (tmp_path / "small_task.py").write_text(TASK)
    recipes = [Recipe.of(registry(), {"momentum": {"lr": lr}}) for lr in (0.1, 0.01)]
    runs = tuple(Run("small_task", recipe, seed, 2) for seed, recipe in enumerate(recipes))
    return Job(f"{tmp_path}/small_task.py:task", runs)


def test_a_package_of_another_environment_is_a_library_and_not_the_users_code(tmp_path, monkeypatch):
    """One on PYTHONPATH, or on the path of an environment that extends another. Else an error of torch's would be taken for the user's."""
    packages = tmp_path / "other" / "site-packages"
    (packages / "installed").mkdir(parents=True)
    (packages / "installed" / "__init__.py").write_text("def fails():\n    raise ValueError\n")
    (tmp_path / "users.py").write_text("from installed import fails\ndef calls():\n    fails()\n")
    monkeypatch.syspath_prepend(packages)
    monkeypatch.syspath_prepend(tmp_path)
    users = importlib.import_module("users")
    with pytest.raises(ValueError) as caught:
        users.calls()
    assert error_location(caught.value) == ("users.py:3", False)


def wait_until(said, seconds=200.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if said():
            return True
        time.sleep(0.02)
    return False


def without_durations(results):
    return [(r.outcome, dict(r.metrics), dict(r.curves), dict(r.scores), r.epochs) for r in results]


def test_results_and_progress_are_equal(pool, job):
    heard = []
    here = Inline(heard.append).submit(job).result()
    pool.heard.clear()
    there = pool.submit(job).result()
    assert without_durations(here.results) == without_durations(there.results)
    for done in (here, there):
        assert set(done.seconds) == set(PHASES)
        assert all(seconds > 0 for seconds in done.seconds.values())
    assert heard == [2, 2]
    assert wait_until(lambda: pool.heard == [2, 2])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_worker_that_is_stopped_for_a_while_gives_one_result(pool, job):
    """In the middle of a job, as by Ctrl-Z of one process; `make chaos` stops workers of whole studies (R2w)."""
    expected = without_durations(Inline().submit(job).result().results)
    pool.call(calls.sleeps, 0).result()
    workers = list(pool._pool._processes)
    for delay in (0.0, 0.02):
        future = pool.submit(job)
        time.sleep(delay)
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        time.sleep(0.3)
        for worker in workers:
            assert alive(worker)
            os.kill(worker, signal.SIGCONT)
        assert without_durations(future.result(timeout=300).results) == expected
    assert list(pool._pool._processes) == workers


def test_a_task_file_that_changed_is_refused(pool, job):
    changed = Job(job.reference, job.runs, sha256="0" * 64)
    for executor in (Inline(), pool):
        with pytest.raises(InputError, match="changed while the study ran"):
            executor.submit(changed).result()


@pytest.mark.parametrize("apart", [False, True], ids=["inline", "processes"])
def test_exceptions_travel(pool, apart):
    executor = pool if apart else Inline()
    with pytest.raises(ValueError, match="as asked"):
        executor.call(calls.fails).result()
    with pytest.raises(InputError) as caught:
        executor.call(calls.refuses).result()
    assert (caught.value.message, caught.value.exit_code) == ("wrong", 2)
    assert executor.call(calls.double, 4).result() == 8 if apart else True


def test_inline_lets_ctrl_c_through():
    with pytest.raises(KeyboardInterrupt):
        Inline().call(calls.interrupted)


def test_workers_leave_ctrl_c_to_the_driver(pool):
    assert pool.call(calls.interrupted).result() == "alive"


def test_a_worker_that_is_killed_breaks_the_pool_at_once():
    executor = Processes(1)
    try:
        with pytest.raises(BrokenExecutor):
            executor.call(calls.dies).result(timeout=300)
    finally:
        executor.shutdown()


def test_cancel_does_not_wait_for_the_work():
    executor = Processes(1)
    futures = [executor.call(calls.sleeps, 600) for _ in range(4)]
    assert wait_until(lambda: any(f.running() for f in futures))
    processes = list(executor._pool._processes.values())
    time.sleep(0.3)
    started = time.monotonic()
    executor.cancel()
    assert time.monotonic() - started < 300  # half of what a worker sleeps
    assert not any(process.is_alive() for process in processes)
    executor.cancel()  # a second one does no harm


def test_cancel_does_not_wait_for_a_lock_that_a_worker_died_with(tmp_path):
    executor = Processes(1)
    executor.call(calls.tells_forever, tmp_path / "begun")
    assert wait_until((tmp_path / "begun").exists)
    killer = threading.Thread(target=executor.cancel, daemon=True)
    killer.start()
    killer.join(timeout=300)
    assert not killer.is_alive()


def test_leaving_ends_workers_and_the_listener():
    with Processes(1, lambda trained: None) as executor:
        assert executor.call(calls.sleeps, 0).result() > 0
        processes, listener = list(executor._pool._processes.values()), executor._listener
    assert not any(process.is_alive() for process in processes)
    assert not listener.is_alive()


def test_standard_output_is_the_drivers_alone(pool):
    assert pool.call(calls.prints).result() == "standard error"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_workers_end_with_a_driver_that_is_killed():
    script = (
        "import executor_calls as calls, time\nfrom ablate.executors.processes import Processes\n"
        "if __name__ == '__main__':\n    pool = Processes(1)\n"
        "    told = [pool.call(calls.sleeps, 0) for _ in range(1)]\n"
        "    print(*{one.result() for one in told}, flush=True)\n    pool.call(calls.sleeps, 60)\n    time.sleep(60)\n"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment()
    )
    workers = [int(word) for word in driver.stdout.readline().split()]
    assert workers
    assert all(map(alive, workers))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    assert wait_until(lambda: not any(map(alive, workers)))


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def environment():
    here = Path(__file__).parent
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent.parent)])}


ENDED_AT_ONCE = """
import os
from ablate.executors.processes import Processes
from executor_calls import double
pool = Processes(2)
pool.call(double, 1).result()
os._exit(143)
"""


def test_a_driver_that_is_ended_at_once_has_the_last_word():
    """As by a second signal: what it did not release is released, and no warning follows its own line."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parent)]),
    }
    done = subprocess.run(
        [sys.executable, "-c", ENDED_AT_ONCE], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (143, "")
