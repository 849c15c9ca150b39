"""`ablate init`: what it writes runs, and nothing is overwritten."""

import json
import sys

import pytest
from cli_samples import INLINE, ablate

from ablate.catalogue.registry import registry
from ablate.records import study
from ablate.tasks.check import check
from ablate.tasks.load import load


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("criterion", ["classification", "regression"])
def test_the_files_for_a_model_of_ones_own_train(here, capsys, criterion):
    said = ablate(capsys, "init", "net", "--task", "own", "--criterion", criterion, "--epochs", "1")
    assert said.code == 0, said.err
    task = load("net_task.py:task")
    assert task.criterion == criterion
    assert check(task) == ()
    said = ablate(capsys, "train", "net_task.py:task", "--epochs", "1", "--lr", "0.001", "--device", "cpu")
    assert said.code == 0, said.err


def test_the_study_runs_and_its_comments_hold_the_defaults(here, capsys):
    assert ablate(capsys, "init", "net", "--task", "own", "--epochs", "1", "--trials", "2").code == 0
    text = (here / "net.toml").read_text()
    parsed = study.parse(text, "net.toml", catalogue=registry())
    assert (parsed.search.trials, parsed.epochs, parsed.space) == (2, 1, study.SpaceSection())
    assert parsed.baseline == study.DEFAULT_BASELINE
    fixed = text.replace('lr = "lr-find"', "lr = 0.05").replace('"*"', '"weight_decay"')
    (here / "net.toml").write_text(fixed)
    said = ablate(capsys, "study", "net.toml", "--stages", "search,report", *INLINE)
    assert said.code == 0, said.err


def test_nothing_is_overwritten_and_bad_input_writes_nothing(here, capsys):
    assert ablate(capsys, "init", "a", "--task", "digits", "--json").code == 0
    assert json.loads(ablate(capsys, "init", "b", "--task", "x.csv:y", "--json").out)["files"] == ["b.toml"]
    before = sorted(path.name for path in here.iterdir())
    assert ablate(capsys, "init", "a", "--task", "digits").code == 2
    assert ablate(capsys, "init", "c", "--criterion", "ranking").code == 2
    assert ablate(capsys, "init", "../c").code == 2
    assert sorted(path.name for path in here.iterdir()) == before


def test_on_a_terminal_it_asks(here, capsys, monkeypatch):
    answers = iter(["own", "regression"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", lambda *words, **more: next(answers))
    assert ablate(capsys, "init", "asked").code == 0
    assert 'criterion="regression"' in (here / "asked_task.py").read_text()
