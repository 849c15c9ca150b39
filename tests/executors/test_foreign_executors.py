"""Executors of other packages: conformance, other versions refused, lost workers, saved states."""

from __future__ import annotations

import pickle
import random
from collections import Counter
from concurrent.futures import BrokenExecutor, CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace

import pytest
from small_study import Heard, rows, study

from ablate.executor_suite import sample_job, without_durations
from ablate.executors import job as job_module
from ablate.executors import remote
from ablate.executors.futures import Futures
from ablate.executors.inline import Inline
from ablate.executors.job import run_job
from ablate.executors.job_error import JobError
from ablate.executors.registry import factory_of, is_cluster
from ablate.executors.remote import SealedJob, WorkerLost, job_future, work
from ablate.executors.shared_task import SharedTask
from ablate.executors.versions import check_versions, source_digest, versions
from ablate.records.errors import AblateError, InputError
from ablate.records.run import Outcome
from ablate.study.search import Prune
from ablate.testing import check_executor

OUTCOME = 1


@pytest.mark.parametrize("name", ["inline", "processes", "concurrent.futures:ThreadPoolExecutor"])
def test_conformance(name):
    check_executor(factory_of(name))


def test_the_conformance_suite_finds_an_executor_that_loses_a_result():
    class Halves(Inline):
        def submit(self, job):
            return super().submit(replace(job, runs=job.runs[:2]))

    with pytest.raises(AssertionError, match="differ from those of the inline executor"):
        check_executor(lambda workers, progress: Halves(progress))


def test_a_pool_of_the_callers_trains_a_study_and_is_left_open(tmp_path):
    heard = Heard()
    with ThreadPoolExecutor(2) as pool:
        got = rows(study(tmp_path / "pool", pool, heard))
        assert pool.submit(int, "3").result() == 3
    assert got == rows(study(tmp_path / "inline", "inline"))
    assert heard.epochs > 0


@pytest.mark.filterwarnings("default")
def test_a_dask_cluster_in_this_process_gives_the_numbers_of_the_inline_executor(tmp_path, monkeypatch):
    """The quick one: clusters of processes, which are killed, belong to `make chaos`. The task is sent once."""
    distributed = pytest.importorskip("distributed", reason="needs ablate[dask]")
    heard, sent = Heard(), []
    scatter = distributed.Client.scatter
    monkeypatch.setattr(distributed.Client, "scatter", lambda *args, **more: sent.append(args[1]) or scatter(*args, **more))  # fmt: skip
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        got = rows(study(tmp_path / "dask", f"dask:{cluster.scheduler_address}", heard))
    assert got == rows(study(tmp_path / "inline", "inline"))
    assert heard.results == len(got)
    assert [type(one) for one in sent] == [SharedTask]
    import dask.sizeof

    state = random.getstate()
    dask.sizeof.sizeof(list(range(1000)))  # as workers do on threads of their own, while jobs train
    assert random.getstate() == state, "Dask draws from a generator of its own"


@pytest.mark.parametrize("handed_in", [False, True])
def test_a_pool_that_a_factory_made_is_shut_down(handed_in):
    pools = [ThreadPoolExecutor(1)]
    executor = factory_of(pools[0] if handed_in else lambda: pools[0])(1, None)
    executor.shutdown()
    if handed_in:
        assert pools[0].submit(int, "3").result() == 3
    else:
        with pytest.raises(RuntimeError, match="after shutdown"):
            pools[0].submit(int, "3")
    pools[0].shutdown()


def test_what_is_no_executor_is_refused():
    with pytest.raises(InputError, match="is a dict, not a concurrent"):
        factory_of(lambda: {})(2, None)
    with pytest.raises(InputError, match="is a dict, not a concurrent"):
        factory_of("builtins:dict")(2, None)
    with pytest.raises(InputError, match="did you mean 'num_gpus'"):
        factory_of("ray:auto?gpus=2")
    with pytest.raises(InputError, match="num_gpus of ray is a number, not 'half'"):
        factory_of("ray:auto?num_gpus=half")
    assert is_cluster("dask:tcp://host:8786")
    assert not is_cluster("my_dask:make")


@pytest.mark.parametrize("name", ["Python", "ablate", "torch", "numpy", "llvmlite"])
def test_a_worker_with_other_software_unpickles_and_trains_nothing(name):
    driver = {**versions(), name: "0.0.1"}
    answer = work(SealedJob(b"of another version"), driver)
    assert isinstance(answer, InputError)
    assert f"has {name} {versions()[name]}, the driver {name} 0.0.1" in answer.message
    assert "\n" not in str(answer)


def test_the_task_is_unpickled_where_it_is_needed_and_not_where_it_arrives():
    shared = SharedTask(sample_job(0).reference + "-elsewhere", b"of another version")
    there = pickle.loads(pickle.dumps(shared))  # noqa: S301 - made by this test
    assert there.reference == shared.reference
    with pytest.raises(pickle.UnpicklingError):
        there.remember()


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'ablate.executors'"),
        AttributeError("Can't get attribute 'work' on <module 'ablate.executors.remote'>"),
        RuntimeError("The remote function failed to import on the worker: No module named 'ablate'"),
    ],
)
def test_a_worker_that_lacks_ablate_is_not_tried_again(error):
    refused = job_future(future_of(error)).exception()
    assert isinstance(refused, InputError)
    assert "install the driver's version of ablate" in str(refused)
    assert isinstance(
        job_future(future_of(ModuleNotFoundError("No module named 'mine'"))).exception(), ImportError
    )


def test_a_worker_without_a_package_is_refused():
    with pytest.raises(InputError, match=r"the worker on node7 has llvmlite none, the driver llvmlite 0\.45"):
        check_versions({"torch": "2", "llvmlite": "0.45"}, {"torch": "2"}, "node7")


def test_the_digest_sees_every_change_of_a_source_file(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    digests = {source_digest(tmp_path)}
    (tmp_path / "a.py").write_text("x = 2\n")
    digests.add(source_digest(tmp_path))
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    digests.add(source_digest(tmp_path))
    assert len(digests) == 3


class Kept:
    """A channel that keeps all that a job saves."""

    def __init__(self, state=None):
        self.state, self.states, self.epochs = state, [], 0

    def trained(self, lane_epochs):
        self.epochs += lane_epochs

    def save(self, unfinished):
        self.states.append(pickle.loads(pickle.dumps(unfinished)))  # noqa: S301 - made by this test

    def saved(self):
        return self.state


def pruned_job(pruner):
    """Of four epochs and two rungs; a run diverges in the first. Without a pruner, it saves three times."""
    job = sample_job(0)
    job = replace(job, runs=tuple(replace(run, epochs=4) for run in job.runs))
    if pruner == "none":
        return job
    metric = job.shared.task.metric
    curves = [r.curves[metric] for r in run_job(job).results if r.outcome is Outcome.COMPLETE]
    between = tuple(sum(values) / len(values) for values in zip(*curves, strict=True))
    return replace(job, prune=Prune(pruner, metric, (between,) * 5 if pruner == "median" else (), 4, job.shared.task.direction == "higher"))  # fmt: skip


@pytest.mark.parametrize("pruner", ["none", "median", "successive-halving"])
def test_a_job_continues_from_the_state_that_a_lost_worker_has_saved(monkeypatch, pruner):
    """The runs that had ended compete in the pruning all the same."""
    monkeypatch.setattr(job_module, "SAVE_SECONDS", 0.0)
    job = pruned_job(pruner)
    whole = Kept()
    expected = work(SealedJob.of(job), versions(), channel=whole)
    assert whole.states
    trained = [result.epochs for result in expected.results if result.outcome is not Outcome.DIVERGED]
    if pruner == "none":
        assert len(whole.states) == 3
    else:
        assert any(result.outcome is Outcome.PRUNED for result in expected.results)
    assert any(result is not None for result in whole.states[-1].results), "the diverged run has ended"
    for done, state in enumerate(whole.states, start=1):
        again = Kept(state)
        got = work(SealedJob.of(job), versions(), channel=again)
        assert without_durations(got.results) == without_durations(expected.results)
        assert again.epochs == sum(max(0, epochs - done) for epochs in trained), "no epoch is trained twice"
        for later in again.states:
            assert len(later.results) == len(job.runs)


def keep_and_fetch(channel, state):
    channel.save(state)
    return channel.saved()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("end", ["shutdown", "cancel"])
def test_a_dask_cluster_that_is_slow_to_end_is_no_error_of_the_study(monkeypatch, end):
    distributed = pytest.importorskip("distributed", reason="needs ablate[dask]")
    from ablate.executors import dask_cluster

    cluster = distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None)
    monkeypatch.setattr(dask_cluster, "_local_cluster", lambda workers: cluster)
    executor = dask_cluster.DaskCluster(1, None)

    def close(timeout):
        raise TimeoutError(f"timed out after {timeout} s.")

    with monkeypatch.context() as patch:
        patch.setattr(cluster, "close", close)
        getattr(executor, end)()
    cluster.close()


@pytest.mark.filterwarnings("default")
def test_the_state_that_dask_keeps_is_the_one_that_was_saved(monkeypatch):
    distributed = pytest.importorskip("distributed", reason="needs ablate[dask]")
    from ablate.executors.dask_cluster import DaskChannel

    monkeypatch.setattr(job_module, "SAVE_SECONDS", 0.0)
    whole = Kept()
    work(SealedJob.of(pruned_job("none")), versions(), channel=whole)
    state = whole.states[0]
    assert None in state.results
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        kept = distributed.Variable("job", client=client)
        kept.set({})
        channel = DaskChannel("topic", "job")
        assert client.submit(channel.saved).result() is None
        got = client.submit(keep_and_fetch, channel, state).result()
        kept.delete()
    assert got.checkpoint == state.checkpoint
    assert without_durations(got.results) == without_durations(state.results)
    assert [one is None for one in got.results] == [one is None for one in state.results]


class Unreachable(Kept):
    """A channel to a driver that is gone."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def __getattribute__(self, name):
        if name == object.__getattribute__(self, "what"):
            raise OSError("the scheduler is gone")
        return object.__getattribute__(self, name)


@pytest.mark.parametrize("what", ["trained", "save", "saved"])
def test_a_message_that_does_not_arrive_is_the_infrastructures_error(monkeypatch, what):
    """The future raises it, so that the job is submitted again; as an error of the training it would end the study."""
    monkeypatch.setattr(job_module, "SAVE_SECONDS", 0.0)
    with pytest.raises(ConnectionError, match="the scheduler is gone"):
        work(SealedJob.of(sample_job(0)), versions(), channel=Unreachable(what))
    assert remote._one_job.acquire(blocking=False)
    remote._one_job.release()


def future_of(outcome):
    inner = Future()
    if outcome is None:
        inner.cancel()
        inner.set_running_or_notify_cancel()
    elif isinstance(outcome, BaseException):
        inner.set_exception(outcome)
    else:
        inner.set_result(outcome[0])
    return inner


def test_errors_of_the_training_and_of_the_infrastructure_are_told_apart():
    training = JobError("ValueError: no", "task.py:3", False, "")
    assert job_future(future_of([training])).exception() is training
    assert isinstance(job_future(future_of(None)).exception(), CancelledError)
    assert isinstance(job_future(future_of(OSError("gone"))).exception(), OSError)
    assert isinstance(job_future(future_of(OSError("gone")), (OSError,)).exception(), WorkerLost)
    result = run_job(sample_job(0))
    assert job_future(future_of([result])).result() is result


class Poisoned(ThreadPoolExecutor):
    """Loses the worker of every job with the run `poison`, and with `breaking` those of all other jobs too, as a process pool does."""

    poison, breaking, final, tries = "", False, False, Counter()

    def submit(self, function, job, *args):
        identities = [run.identity for run in job.open().runs]
        if not Poisoned.poison:
            Poisoned.poison = identities[0]
        Poisoned.tries.update(identities)
        if Poisoned.poison in identities:
            kind = WorkerLost if Poisoned.final else BrokenExecutor if Poisoned.breaking else ConnectionError
            return future_of(kind("the worker was killed"))
        if Poisoned.breaking and Poisoned.tries[identities[0]] < 3:
            return future_of(BrokenExecutor("another worker was killed"))
        return super().submit(function, job, *args)


@pytest.mark.parametrize("breaking", [False, True])
def test_a_run_that_kills_its_worker_three_times_costs_no_other_run(tmp_path, monkeypatch, breaking):
    monkeypatch.setattr(Poisoned, "poison", "")
    monkeypatch.setattr(Poisoned, "breaking", breaking)
    monkeypatch.setattr(Poisoned, "tries", Counter())
    monkeypatch.setattr("ablate.study.search.Prune.never", True)
    heard = Heard()
    with pytest.raises(AblateError, match="the worker was killed"):
        study(tmp_path, Poisoned(1), heard)
    ended = {row[0]: row[OUTCOME] for row in rows(tmp_path / "studies" / "small.db")}
    assert [name for name, outcome in ended.items() if outcome == "interrupted"] == [Poisoned.poison]
    assert Poisoned.tries[Poisoned.poison] == 3
    assert len(ended) > 1
    resumed = rows(study(tmp_path, "inline"))
    assert resumed == rows(study(tmp_path / "undisturbed", "inline"))


def test_what_a_cluster_has_given_up_is_not_submitted_again(tmp_path, monkeypatch):
    monkeypatch.setattr(Poisoned, "poison", "")
    monkeypatch.setattr(Poisoned, "final", True)
    monkeypatch.setattr(Poisoned, "tries", Counter())
    with pytest.raises(AblateError, match="the worker was killed"):
        study(tmp_path, Poisoned(1))
    assert Poisoned.tries[Poisoned.poison] == 1


def test_cancelling_drops_what_has_not_begun():
    pool = ThreadPoolExecutor(1)
    executor = Futures(pool, 1, None, owned=True)
    futures = [executor.submit(sample_job(seed)) for seed in range(4)]
    executor.cancel()
    pool.shutdown()
    assert all(future.done() for future in futures)
    assert isinstance(futures[-1].exception(), CancelledError)
    assert remote._one_job.acquire(blocking=False)
    remote._one_job.release()
