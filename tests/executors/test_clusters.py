"""Real clusters: the numbers of the inline executor bit for bit, and no run lost or counted twice when workers vanish. In `make chaos`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_study import COLUMNS, Heard, rows, study

from ablate.executors.job import Job
from ablate.executors.registry import factory_of
from ablate.executors.shared_task import SharedTask
from ablate.records.errors import AblateError, InputError
from ablate.testing import check_executor

pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.chaos,
    pytest.mark.timeout(600),
]
TRIALS = 12
STOP_SECONDS = 10.0
"""Within which an interrupted driver and all that it started end, less the time in which they only waited for a core."""
START_SECONDS = 500
SECONDS = 0.02
"""Of a step, so that a study lasts long enough to be disturbed."""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Rows of undisturbed studies in this process; the task's sleep is no part of a result."""
    return {
        trials: rows(study(tmp_path_factory.mktemp("inline"), "inline", trials=trials))
        for trials in (6, TRIALS)
    }


@pytest.fixture
def dask_address():
    distributed = pytest.importorskip("distributed", reason="needs ablate[dask]")
    clusters = []

    def start(**settings):
        plain = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
        cluster = distributed.LocalCluster(**{**plain, **settings})
        clusters.append(cluster)
        return cluster

    yield start
    for cluster in clusters:
        cluster.close()


PACKAGES = {"processes": "multiprocessing", "dask": "distributed", "ray": "ray"}


@pytest.mark.parametrize("name", PACKAGES)
def test_the_numbers_are_those_of_the_inline_executor(tmp_path, expected, name, monkeypatch):
    """Bit for bit, and each lane-epoch is told once. Ray's object store gets the task once."""
    engine = pytest.importorskip(PACKAGES[name], reason=f"needs ablate[{name}]")
    heard, sent = Heard(), []
    if name == "ray":
        put = engine.put
        monkeypatch.setattr(engine, "put", lambda value: sent.append(value) or put(value))
    ledger = study(tmp_path, name, heard)
    assert [type(one) for one in sent] == [SharedTask] * (name == "ray")
    assert rows(ledger) == expected[6]
    assert heard.epochs == sum(row[COLUMNS.split(", ").index("epochs")] for row in rows(ledger))


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_conformance(name):
    pytest.importorskip(PACKAGES[name], reason=f"needs ablate[{name}]")
    check_executor(factory_of(name))


def parsl_pool(max_workers: int, run_dir: str):
    """Workers of parsl on this machine."""
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor

    workers = HighThroughputExecutor(max_workers_per_node=max_workers, address="127.0.0.1", encrypted=False)
    return ParslPoolExecutor(Config(executors=[workers], run_dir=run_dir, initialize_logging=False))


def test_conformance_of_parsl(tmp_path):
    pytest.importorskip("parsl", reason="needs parsl")

    def pool(max_workers: int):
        return parsl_pool(max_workers, str(tmp_path))

    check_executor(factory_of(pool))


def test_conformance_of_executorlib():
    pytest.importorskip("executorlib", reason="needs executorlib")
    check_executor(factory_of("executorlib:SingleNodeExecutor"))


def test_dask_loses_no_run_with_a_killed_worker(tmp_path, expected, dask_address):
    cluster = dask_address()

    def kill(results: int) -> None:
        if results == 2:
            next(iter(cluster.workers.values())).process.process.kill()

    ledger = study(tmp_path, f"dask:{cluster.scheduler_address}", Heard(kill), trials=TRIALS, seconds=SECONDS)
    assert rows(ledger) == expected[TRIALS]


def test_dask_workers_with_a_lifetime(tmp_path, expected, dask_address):
    """As those of dask-jobqueue, which leave before the queue's walltime ends; the nanny starts others. They live several times
    as long as they take to start, on a busy machine too, and the study lasts longer."""
    began = time.monotonic()
    dask_address(n_workers=1).close()
    lifetime = 15 + 3 * (time.monotonic() - began)
    cluster = dask_address(lifetime=lifetime, lifetime_stagger=lifetime / 3, lifetime_restart=True)
    seen: set[str] = set()
    heard = Heard(lambda results: seen.update(cluster.scheduler_info["workers"]))
    ledger = study(tmp_path, f"dask:{cluster.scheduler_address}", heard, trials=TRIALS, seconds=4 * SECONDS * lifetime / 15)  # fmt: skip
    assert rows(ledger) == expected[TRIALS]
    assert len(seen) > 2, "a worker has left, and another has come"


@pytest.fixture
def ray_cluster():
    pytest.importorskip("ray", reason="needs ablate[ray]")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1})
    cluster.spot = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_ray_loses_no_run_with_a_killed_raylet(tmp_path, expected, ray_cluster):
    heard = Heard()

    def kill(results: int) -> None:
        if results == 2:
            ray_cluster.remove_node(ray_cluster.spot[0], allow_graceful=False)

    heard.on_result = kill
    ledger = study(tmp_path, "ray", heard, trials=TRIALS, seconds=SECONDS)
    assert rows(ledger) == expected[TRIALS]


class Asked(Exception):
    """The options of a Ray task."""


class Asks:
    def options(self, **options):
        raise Asked(options)


def test_ray_jobs_take_gpus_and_fractions_of_them(tmp_path, expected, ray_cluster, monkeypatch):
    """A GPU is a number that Ray counts: this cluster says that it has one, and two jobs share it on one of three nodes."""
    import ray

    left = []
    heard = Heard()
    monkeypatch.setattr(heard, "trained", lambda n: left.append(ray.available_resources().get("GPU", 0.0)))
    ledger = study(tmp_path, "ray:auto?num_gpus=0.5&num_cpus=0.5", heard, seconds=SECONDS)
    assert rows(ledger) == expected[6]
    assert set(left) <= {0.0, 0.5, 1.0}
    assert min(left) < 1.0
    for name, device, gpus, workers in [
        ("ray", "cpu", 0.0, 3), ("ray", "cuda", 1.0, 3), ("ray:?num_gpus=0.25", "cuda", 0.25, 3),
        ("ray:?num_gpus=0.5", "cuda", 0.5, 2), ("ray:?num_gpus=1", "cuda:0", 1.0, 1),
    ]:  # fmt: skip
        executor = factory_of(name)(0, None)
        executor._task = Asks()
        with pytest.raises(Asked) as asked:
            executor.submit(Job("wine", (), device=device))
        executor.shutdown()
        options = asked.value.args[0]
        assert (executor.workers, options["num_cpus"], options["num_gpus"]) == (workers, 1.0, gpus), name


OTHER_TORCH = """Metadata-Version: 2.1
Name: torch
Version: 0.0.1
"""
NO_LLVMLITE = """
import importlib.metadata as metadata
found = metadata.version
def version(name):
    if name == "llvmlite":
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
"""
NO_ABLATE = "raise ModuleNotFoundError(\"No module named 'ablate'\")"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("torch-0.0.1.dist-info/METADATA", OTHER_TORCH, "has torch 0.0.1, the driver torch"),
        ("sitecustomize.py", NO_LLVMLITE, "has llvmlite none, the driver llvmlite"),
        ("ablate/__init__.py", NO_ABLATE, "No module named 'ablate'"),
    ],
    ids=["torch", "llvmlite", "ablate"],
)
def test_a_dask_worker_with_other_software_is_refused_by_name(tmp_path, dask_address, file, text, message):
    """A real worker that finds another torch, no llvmlite or no ablate before the right ones. One line, and no run is recorded."""
    there = tmp_path / "there" / file
    there.parent.mkdir(parents=True)
    there.write_text(text)
    cluster = dask_address(n_workers=0)
    worker = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address, "--no-nanny", "--nthreads", "1", "--no-dashboard"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "there"), *sys.path])}, stderr=subprocess.DEVNULL, cwd=tmp_path,
    )  # fmt: skip
    try:
        with pytest.raises(InputError) as refused:
            study(tmp_path, f"dask:{cluster.scheduler_address}")
    finally:
        worker.terminate()
        worker.wait()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert rows(tmp_path / "studies" / "small.db") == []


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_a_job_that_kills_its_worker_each_time_is_an_outcome_and_no_loop(tmp_path, name):
    """Every attempt of a job ends its process: after the engine's attempts the runs are interrupted, and the study says so."""
    pytest.importorskip(PACKAGES[name], reason=f"needs ablate[{name}]")
    attempts = tmp_path / "attempts"
    with pytest.raises(AblateError, match="a worker process was killed"):
        study(tmp_path / "study", name, trials=2, kills=attempts)
    ended = rows(tmp_path / "study" / "studies" / "small.db")
    assert ended
    assert {row[1] for row in ended} == {"interrupted"}
    jobs = len(ended)  # at most one job for each run
    assert 3 <= len(attempts.read_text().splitlines()) <= 4 * jobs, "the engine's attempts and no more"


ENDLESS = """
import os, sys
from pathlib import Path
from small_study import Heard, study
class Told(Heard):
    def trained(self, lane_epochs):
        if lane_epochs:
            Path(sys.argv[1], "training").touch()
if __name__ == "__main__":
    study(Path(sys.argv[1]), sys.argv[2], Told(), epochs=100000, seconds=0.05)
"""


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_ctrl_c_ends_remote_work(tmp_path, name):
    """The driver and all processes that it started are gone within STOP_SECONDS of SIGINT, while remote lanes train."""
    pytest.importorskip(PACKAGES[name], reason=f"needs ablate[{name}]")
    driver = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path), name],
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)}, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + START_SECONDS
        while not (tmp_path / "training").exists():
            assert driver.poll() is None
            assert time.monotonic() < end, "no remote lane has trained"
            time.sleep(0.2)
        before = {process: _waited(process) for process in _processes(driver.pid)}
        assert len(before) > 2
        driver.send_signal(signal.SIGINT)
        sent, waited = time.monotonic(), dict.fromkeys(before, 0.0)
        while left := _processes(driver.pid):
            for process in left:
                waited[process] = max(waited.get(process, 0.0), _waited(process) - before.get(process, 0.0))
            seconds = time.monotonic() - sent
            assert seconds - max(waited.values()) < STOP_SECONDS, (seconds, left)
            driver.poll()  # collects the driver once it has ended
            time.sleep(0.02)
    finally:
        for process in _processes(driver.pid):
            os.kill(process, signal.SIGKILL)
        driver.wait()


def _processes(session: int) -> list[int]:
    """The processes of a session, which are all that its driver has started, less those that have ended."""
    processes = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of, *_ = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(of) == session and state not in "ZX":
            processes.append(int(stat.parent.name))
    return processes


def _waited(process: int) -> float:
    """Seconds for which the main thread of a process could run and waited for a core."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
