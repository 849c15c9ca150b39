"""A model edited between two sessions: no run of the one is beside a run of the other, and none is lost."""

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path

import pytest
import torch
from study_samples import Heard, place
from test_study_tasks import SHORT
from torch import nn

from ablate.catalogue.own_tricks import catalogue_with, own_tricks, using_tricks
from ablate.ledger import store
from ablate.ledger.entry import Entry
from ablate.ledger.index import read_index
from ablate.ledger.store import Ledger
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from ablate.study.edited import keep_apart, trick_code
from ablate.tasks.describe import describe
from ablate.tasks.task import Task


def test_runs_of_an_edited_model_are_kept_apart_and_found_again(tmp_path, monkeypatch):
    here, heard = place(tmp_path, study=SHORT), Heard()
    first = {entry.identity: entry for entry in here.run(("search",))}
    file = tmp_path / "tiny_task.py"
    text = file.read_text()
    assert "nn.ReLU()" in text
    file.write_text(text.replace("nn.ReLU()", "nn.Tanh()"))
    second = {entry.identity: entry for entry in here.run(("search",), progress=heard)}
    assert any("the structure of the model has changed" in line and "are kept in" in line for line in heard.said)  # fmt: skip
    shared = first.keys() & second.keys()
    assert shared
    assert any(first[name].result.metrics != second[name].result.metrics for name in shared)
    asides = list(here.ledger.parent.glob("*.model-*.db"))
    assert len(asides) == 1
    with Ledger.open(asides[0], write=False) as ledger:
        assert ledger.finished() == first.keys()
    file.write_text(text)
    again = Heard()
    checked: list[object] = []
    monkeypatch.setattr(store, "read_index", lambda connection: checked.append(1) or read_index(connection))
    assert {entry.identity for entry in here.run(("search",), progress=again)} == first.keys()
    assert again.entries == []
    assert any("continues" in line for line in again.said)
    checked.clear()
    here.run(("search",))
    assert len(checked) == 2, "all runs are checked when the study opens, and when this test reads them"


X = torch.linspace(-1, 1, 40).reshape(10, 4)
MODELS = {"A": lambda: nn.Sequential(nn.Linear(4, 2)), "B": lambda: nn.Sequential(nn.Linear(4, 2), nn.ReLU())}
ESSENTIAL = "seed = 0\n"
SEQUENCE = ("A2", "B2", "B4", "A4", "A4", "B4", "A2", "B2")
numbers = count()


def task_of(version: str) -> Task:
    """ "A2": model A, two epochs."""
    return Task(model=MODELS[version[0]], train=(X, (X[:, 0] > 0).long()), epochs=int(version[1]), name="t")


def session(path: Path, version: str, tricks: Mapping[str, str] = {}) -> tuple[set[str], list[str]]:
    """What a study of that version does with its ledger, less the training: the runs that are there, and what was told. Records one run if there is none."""
    task = task_of(version)
    said = list(keep_apart(path, task, ESSENTIAL, tricks))
    with Ledger.open(path, write=True) as ledger:
        study = {"name": path.stem, "epochs": task.epochs, "essential": ESSENTIAL}
        assert ledger.fact("version", version) == version
        ledger.put("version", version)
        if not ledger.finished():
            ledger.put("study", study)
            ledger.put("task", describe(task))
            ledger.put("trick_code", dict(tricks))
            run = Run("t", Recipe({"sgd": {"lr": 0.1}}), next(numbers), task.epochs)
            ledger.record([Entry(run, Result(Outcome.COMPLETE, {}, {}, {}, epochs=task.epochs), "search")])
        return ledger.finished(), said


def test_the_rate_of_another_model_is_not_kept(tmp_path):
    """Where the model is edited and more epochs are asked for at once; with more epochs alone it is."""
    for version, kept in (("B4", 0), ("A4", 1)):
        path = tmp_path / version / "tiny.db"
        session(path, "A2")
        with Ledger.open(path, write=True) as ledger:
            run = Run("t", Recipe({"sgd": {"lr": 0.2}}), 0, 2)
            ledger.record([Entry(run, Result(Outcome.COMPLETE, {}, {}, {}, epochs=2), "lr-find")])
            ledger.put("lr-find", {"learning_rate": 0.2})
        (line,) = keep_apart(path, task_of(version), ESSENTIAL, {})
        assert f"{2 - kept} runs" in line or f"{2 - kept} earlier runs" in line
        with Ledger.open(path, write=False) as ledger:
            assert [entry.stage for entry in ledger.entries()] == ["lr-find"] * kept
            assert ("lr-find" in ledger.facts()) == bool(kept)


def test_an_edited_optimizer_class_of_the_user_s_counts_and_torch_s_does_not(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "optimizer_of_mine.py"
    text = "import torch\n\n\nclass Mine(torch.optim.SGD):\n    factor = 2\n"
    file.write_text(text)
    mine = catalogue_with(own_tricks(["optimizer_of_mine.Mine", "torch.optim.Adamax"]))
    (before,) = trick_code(mine).items()
    file.write_text(text + "    # as it was\n")
    assert trick_code(mine) == dict([before])
    file.write_text(text.replace("2", "3"))
    ((name, code),) = trick_code(mine).items()
    assert (name == before[0], code == before[1]) == (True, False)


def all_runs(folder: Path) -> set[str]:
    runs: set[str] = set()
    for file in folder.glob("*.db"):
        with Ledger.open(file, write=False) as ledger:
            runs |= ledger.finished()
    return runs


def test_two_models_and_two_budgets_have_four_ledgers(tmp_path):
    """Each is found again, and none takes the name of another."""
    path, runs = tmp_path / "tiny.db", dict[str, set[str]]()
    for turn, version in enumerate(SEQUENCE):
        before = SEQUENCE[turn - 1] if turn else version
        trained, said = session(path, version)
        again = version in runs
        assert trained == runs.setdefault(version, trained), version
        assert len(said) == (version != before), said
        assert all(("continues" in line) == again and "are kept in tiny." in line for line in said), said
        assert all_runs(tmp_path) == set().union(*runs.values())
    assert len(list(tmp_path.glob("tiny.*-epochs.model-*.db"))) == 3


def killed(path: Path, version: str, number: int, *, after: bool, linked: bool) -> bool:
    """Let another process, which ends before or after its `number`-th call that gives or takes a name, make room for that version; whether it made so many.

    linked: whether the file system has links.
    """
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == KILLED
    left = number

    def call(name: str, function: Callable[..., None], *args: object, **more: object) -> None:
        nonlocal left
        left -= 1
        if not left and not after:
            os._exit(KILLED)
        if name == "link" and not linked:
            raise OSError("no links here")
        try:
            function(*args, **more)
        finally:
            if not left:
                os._exit(KILLED)

    for name in ("link", "replace", "unlink"):
        setattr(os, name, partial(call, name, getattr(os, name)))
    try:
        list(keep_apart(path, task_of(version), ESSENTIAL, {}))
        os._exit(0)
    finally:
        os._exit(1)


KILLED = 99


@pytest.mark.parametrize(("change", "linked"), [("A2-B2", False), ("A2-A4", True)], ids=["copies", "links"])
def test_a_kill_between_two_renames_loses_nothing(tmp_path, change, linked):
    """Before and after every call that gives or takes a name, on file systems with and without links."""
    one, other = change.split("-")
    for number in range(2, 40):
        path = tmp_path / str(number) / "tiny.db"
        runs = session(path, one)[0]
        if number % 3 == 0:  # the other version has a ledger already
            runs |= session(path, other)[0]
            session(path, one)
        hit = killed(path, other, number // 2, after=bool(number % 2), linked=linked)
        assert all_runs(path.parent) == runs, number
        for version in (other, one):
            runs |= session(path, version)[0]
        assert all_runs(path.parent) == runs, number
        assert len(runs) == 2, "the study of each version goes on"
        if not hit and number % 3:
            break
    assert 12 < number < 39


OWN = '''"""Halves every gradient."""
from ablate.records.trick import Claim, Parameter, Source, Trick
from own_helper import scaled


def gradient(gradients, weights, p):
    return gradients.like(scaled(gradients.flat, p.like("factor", gradients.flat)))


TRICK = Trick(
    name="half_gradient", title="Half the gradient", seam="gradient",
    parameters=(Parameter("factor", 0.5, low=0.1, high=1.0, neutral=1.0),),
    claims=(Claim("accuracy", "same", "nothing much", Source("none", "nobody", 2026)),),
)
'''
HELPER = "def scaled(flat, factor):\n    return flat * factor\n"


def test_runs_of_an_edited_trick_are_kept_apart(tmp_path, monkeypatch):
    """Its own file, and a module that it imports; a comment is no edit."""
    monkeypatch.syspath_prepend(tmp_path)
    trick, helper = tmp_path / "half.py", tmp_path / "own_helper.py"
    study = SHORT.replace('include = ["dropout"', 'include = ["half_gradient", "dropout"')
    here = place(tmp_path, study=f'tricks = ["{trick}"]\n{study}')
    lines_of = {}

    def run(what: str, code: str, beside: str) -> set[str]:
        trick.write_text(code)
        helper.write_text(beside)
        monkeypatch.delitem(sys.modules, "own_helper", raising=False)
        heard = Heard()
        with using_tricks(own_tricks([str(trick)])):
            here.run((), progress=heard)
        lines_of[what] = [
            line for line in heard.said if "the code of the trick half_gradient has changed" in line
        ]
        with Ledger.open(here.ledger, write=True) as ledger:
            if not ledger.finished():
                run = Run("t", Recipe({"sgd": {"lr": 0.1}}), next(numbers), 2)
                ledger.record([Entry(run, Result(Outcome.COMPLETE, {}, {}, {}, epochs=2), "search")])
            return ledger.finished()

    first = run("begun", OWN, HELPER)
    assert run("comment", OWN.replace("TRICK =", "# mine\nTRICK ="), HELPER) == first
    second = run("trick", OWN.replace("scaled(grad", "-3 * scaled(grad"), HELPER)
    third = run("helper", OWN, HELPER.replace("flat *", "-flat *"))
    assert run("undone", OWN, HELPER) == first
    assert len(first | second | third) == 3, "one run each"
    assert {what: len(lines) for what, lines in lines_of.items()} == {
        "begun": 0, "comment": 0, "trick": 1, "helper": 1, "undone": 1,
    }  # fmt: skip
    assert "continues" in lines_of["undone"][0]
