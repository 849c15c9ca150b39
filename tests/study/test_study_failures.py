"""A failed job: the user's code is named, an error of ablate's own stops the study, a lost worker costs nothing."""

from collections import Counter

import pytest
from study_samples import TABULAR, Heard, duplicates, place, without_durations

from ablate.executors.inline import Inline
from ablate.executors.job import Job
from ablate.records.errors import AblateError, InputError
from ablate.records.run import Outcome
from ablate.study import resume

MODEL = "model=lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))"
FLAG = """
import pathlib

FLAG = pathlib.Path(__file__).with_name("flag")
"""
BROKEN = TABULAR.replace(
    "task = Task(",
    FLAG
    + """
class Net(nn.Sequential):
    def forward(self, x):
        if FLAG.exists():
            return {}["absent"]
        return super().forward(x)

task = Task(""",
).replace(MODEL, "model=lambda: Net(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))")
LINE = BROKEN[: BROKEN.index('{}["absent"]')].count("\n") + 1


class Raising(Heard):
    """Makes the task's code fail from the beginning of the first stage on."""

    def __init__(self, folder):
        super().__init__()
        self.flag = folder / "flag"

    def stage(self, name, lane_epochs):
        self.flag.touch()


@pytest.fixture(params=["inline", "processes"])
def executor(request):
    return request.param


def test_three_runs_that_fail_alike_in_the_users_code_end_the_study(tmp_path, executor):
    here = place(tmp_path, BROKEN)
    with pytest.raises(AblateError) as caught:
        here.run(("search",), executor, Raising(tmp_path))
    assert str(caught.value).startswith(
        f"3 runs failed alike in your code: KeyError: 'absent' (tiny_task.py:{LINE}); correct it and run"
    )
    assert caught.value.exit_code == 1
    trace = here.folder / "studies" / "tiny.traceback.txt"
    assert str(trace) in str(caught.value)
    assert 'return {}["absent"]' in trace.read_text()
    assert 'return {}["absent"]' in caught.value.__notes__[0], "shown by --debug"
    assert len(here.entries()) == 2


BROKEN_METRIC = TABULAR.replace(
    "task = Task(",
    FLAG
    + """
def hits(outputs, targets):
    if FLAG.exists():
        return {}["absent"]
    return (outputs.argmax(1) == targets).float().mean()

task = Task(metrics={"hits": (hits, "higher")}, metric="hits", """,
)


@pytest.mark.parametrize(("fails_in", "trained"), [("search", 0), ("rank", 6)])
def test_a_metric_that_fails_is_bad_input_and_what_was_trained_is_reported(tmp_path, fails_in, trained):
    class Late(Raising):
        def stage(self, name, lane_epochs):
            if name.startswith(fails_in):
                super().stage(name, lane_epochs)

    here = place(tmp_path, BROKEN_METRIC)
    with pytest.raises(InputError, match=r"the metric 'hits' failed at .*tiny_task\.py"):
        here.run(("search", "rank", "report"), "inline", Late(tmp_path))
    assert len(here.entries()) >= trained
    assert bool(here.entries()) == (trained > 0)
    assert (tmp_path / "reports" / "tiny").exists() == (trained > 0)


ONE_FAILS = TABULAR.replace(MODEL, "model=made").replace(
    "task = Task(",
    FLAG
    + """
def made():
    seed, looked = str(torch.initial_seed()), FLAG.with_name("looked")
    if not FLAG.exists():  # a look at the model, before the study
        looked.write_text((looked.read_text() if looked.exists() else "") + seed + " ")
    elif seed not in looked.read_text().split():
        if not FLAG.read_text():
            FLAG.write_text(seed)
        if FLAG.read_text() == seed:
            raise ValueError("not with this seed")
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

task = Task(""",
)


def test_a_run_that_fails_by_itself_does_not_end_the_study(tmp_path):
    """The other lanes of its group are trained all the same."""
    here = place(tmp_path, ONE_FAILS)
    entries = here.run(("search",), progress=Raising(tmp_path))
    failed = [entry for entry in entries if entry.result.outcome is Outcome.FAILED]
    assert 1 <= len(failed) <= 2
    assert len(entries) > 6
    assert failed[0].result.note.startswith("ValueError: not with this seed (tiny_task.py:")


def test_an_error_of_ablates_own_stops_at_once(tmp_path, executor, monkeypatch):
    """Here: the study asks for a pruner that fails in the worker, as a metric that nobody measured did."""
    here = place(tmp_path)
    monkeypatch.setattr("ablate.study.search.Prune.never", False)
    study = here.folder / "tiny.toml"
    study.write_text(study.read_text().replace("trials = 6", 'trials = 6\npruner = "median"'))
    monkeypatch.setattr("ablate.study.search.Session.metric", "validation/nowhere", raising=False)
    monkeypatch.setattr("ablate.study.session.Job", lambda *args, metric, **more: Job(*args, **more))
    with pytest.raises(AblateError) as caught:
        here.run(("search",), executor)
    message = str(caught.value)
    assert message.startswith(
        "training stopped by an error in ablate itself: KeyError: 'validation/nowhere' (ablate/study/search.py:"
    )
    assert "tiny.traceback.txt" in message
    assert here.entries() == []
    report = (here.folder / "studies" / "tiny.traceback.txt").read_text()
    for part in (
        "torch ",
        "command: ablate study",
        'pruner = "median"',
        "Traceback",
        "KeyError: 'validation/nowhere'",
    ):
        assert part in report


MUTE = BROKEN.replace('return {}["absent"]', "raise Mute").replace(
    "class Net(", "class Mute(Exception):\n    def __str__(self):\n        raise ValueError\n\n\nclass Net("
)


def test_an_exception_that_cannot_be_told_is_named(tmp_path):
    here = place(tmp_path, MUTE)
    with pytest.raises(AblateError, match=r"failed alike in your code: Mute \(tiny_task.py:"):
        here.run(("search",), "inline", Raising(tmp_path))


class Losing(Inline):
    """Loses the worker of each run `most` times, as a cluster does: its futures raise what is no job's error."""

    times: Counter

    def submit(self, job):
        future = super().submit(job)
        identities = [run.identity for run in job.runs]
        if min(Losing.times[identity] for identity in identities) < Losing.most:
            Losing.times.update(identities)
            future._exception, future._result = ConnectionError("the node is gone"), None
        return future


def losing(monkeypatch, most):
    Losing.times, Losing.most = Counter(), most
    monkeypatch.setattr(resume, "factory_of", lambda name: lambda workers, progress: Losing(progress))


def test_a_job_whose_worker_is_lost_is_submitted_again(tmp_path, monkeypatch):
    here, undisturbed = place(tmp_path / "a"), place(tmp_path / "a" / "b")
    expected = without_durations(undisturbed.run(("search",)))
    losing(monkeypatch, most=2)
    heard = Heard()
    entries = here.run(("search",), progress=heard)
    assert [values[5:] for values in without_durations(entries).values()] == [
        values[5:] for values in expected.values()
    ]
    assert duplicates(here.ledger) == 0
    assert "a worker was lost (ConnectionError): its runs are submitted again" in heard.said


def test_runs_whose_worker_is_lost_each_time_are_interrupted_and_run_by_the_next_start(tmp_path, monkeypatch):
    here = place(tmp_path)
    with monkeypatch.context() as patch:
        losing(patch, most=3)
        with pytest.raises(
            AblateError, match="the node is gone; finished runs are kept: run the same command again"
        ):
            here.run(("search",))
    assert {entry.result.outcome for entry in here.entries()} == {Outcome.INTERRUPTED}
    assert len([e for e in here.run(("search",)) if e.stage == "search"]) == 6
    assert all(entry.result.outcome.finished for entry in here.entries())


KILLED = TABULAR.replace(MODEL, "model=made").replace(
    "task = Task(",
    """
import multiprocessing, os, pathlib, signal

def made():
    flag = pathlib.Path(__file__).with_name("kill")
    if multiprocessing.parent_process() and flag.exists():
        if flag.read_text() == "once":
            flag.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

task = Task(""",
)


@pytest.mark.parametrize("times", ["once", "always"])
def test_a_killed_worker_process(tmp_path, times):
    """Once: other workers take its place. Always: the study stops in one line, and a later start goes on."""
    here = place(tmp_path, KILLED)
    (here.folder / "kill").write_text(times)
    if times == "always":
        with pytest.raises(AblateError, match="a worker process was killed") as caught:
            here.run(("search",), "processes")
        assert caught.value.exit_code == 1
        (here.folder / "kill").unlink()
    here.run(("search",), "processes")
    assert len({e.identity for e in here.entries() if e.stage == "search"}) == 6
    assert all(entry.result.outcome.finished for entry in here.entries())
    assert duplicates(here.ledger) == 0
