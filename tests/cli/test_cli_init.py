"""`ablate init`: what it writes runs, and nothing is overwritten."""

import json
import runpy
import sys

import pytest
import torch
from cli_samples import INLINE, ablate

from ablate.api.task_templates import TEMPLATES
from ablate.catalogue.registry import registry
from ablate.records import study
from ablate.tasks.check import check
from ablate.tasks.load import load

LEARNT = {
    "classification": ("validation/accuracy", 0.8),
    "regression": ("validation/r2", 0.7),
    "multilabel": ("validation/average_precision", 0.8),
    "segmentation": ("validation/mean_iou", 0.7),
    "text": ("validation/accuracy", 0.8),
    "token_classification": ("validation/f1", 0.8),
    "language_modelling": ("validation/accuracy", 0.5),
}
"""What a short training reaches, much more than by chance."""
CRITERIA = {name: name for name in LEARNT} | {"text": "classification"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def on_a_terminal(monkeypatch, *answers: str) -> list[str]:
    """Standard input is a terminal where these are answered. The questions are collected in the list returned."""
    left, asked = iter(answers), []

    def prompt(question, **more):
        asked.append(question)
        return next(left)

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", prompt)
    return asked


def test_every_template_is_tried_and_named_by_the_help(capsys):
    assert TEMPLATES.keys() == LEARNT.keys()
    said = ablate(capsys, "init", "--help").out
    assert [name for name in TEMPLATES if name not in said] == []


@pytest.mark.parametrize("template", LEARNT)
def test_the_task_loads_and_learns(here, capsys, template):
    said = ablate(capsys, "init", "net", "--task", "own", "--template", template)
    assert said.code == 0, said.err
    task = load("net_task.py:task")
    assert task.criterion == CRITERIA[template]
    assert check(task) == ()
    card = json.loads(ablate(capsys, "tasks", "net_task.py:task", "--json").out)
    assert card["criterion"] == CRITERIA[template]
    rate = "0.01" if template == "regression" else "0.3"
    said = ablate(capsys, "train", "net_task.py:task", "--lr", rate, "--device", "cpu", "--json")
    assert said.code == 0, said.err
    metric, least = LEARNT[template]
    assert json.loads(said.out)["metrics"][metric] > least


def test_padding_of_the_text_template_does_not_count(here, capsys):
    assert ablate(capsys, "init", "net", "--template", "text").code == 0
    written = runpy.run_path("net_task.py")
    x, _ = written["data"]()
    ids, mask = x["input_ids"], x["attention_mask"]
    assert len(mask.sum(1).unique()) > 2
    assert ids[mask == 0].unique().tolist() == [0]
    assert (ids[mask == 1] > 0).all()
    net = written["Net"]()
    other = ids.where(mask == 1, 7)
    assert torch.equal(net(other, mask), net(ids, mask))
    assert not torch.equal(net(other, torch.ones_like(mask)), net(ids, mask))
    assert net(ids, torch.zeros_like(mask)).isfinite().all()


@pytest.mark.parametrize("template", LEARNT)
def test_the_study_runs_and_its_comments_hold_the_defaults(here, capsys, template):
    words = ("init", "net", "--template", template, "--epochs", "1", "--trials", "2")
    assert ablate(capsys, *words).code == 0
    text = (here / "net.toml").read_text()
    parsed = study.parse(text, "net.toml", catalogue=registry())
    assert (parsed.search.trials, parsed.epochs, parsed.space) == (2, 1, study.SpaceSection())
    assert parsed.baseline == study.DEFAULT_BASELINE
    assert f'# metric = "{load("net_task.py:task").metric}"' in text
    fixed = text.replace('lr = "lr-find"', "lr = 0.05").replace('"*"', '"weight_decay"')
    (here / "net.toml").write_text(fixed)
    said = ablate(capsys, "plan", "net.toml", "--device", "cpu")
    assert said.code == 0, said.err
    said = ablate(capsys, "study", "net.toml", "--stages", "search,report", *INLINE)
    assert said.code == 0, said.err


def test_nothing_is_overwritten_and_bad_input_writes_nothing(here, capsys):
    assert ablate(capsys, "init", "a", "--task", "digits", "--json").code == 0
    assert json.loads(ablate(capsys, "init", "b", "--task", "x.csv:y", "--json").out)["files"] == ["b.toml"]
    before = sorted(path.name for path in here.iterdir())
    assert ablate(capsys, "init", "a", "--task", "digits").code == 2
    assert ablate(capsys, "init", "../c").code == 2
    said = ablate(capsys, "init", "c", "--task", "digits", "--template", "text")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "--template is for a task of your own" in said.err
    assert sorted(path.name for path in here.iterdir()) == before


@pytest.mark.parametrize("option", ["--template", "--criterion"])
@pytest.mark.parametrize("wrong", ["ranking", "detection", "Text"])
def test_a_wrong_name_is_told_with_those_that_exist(here, capsys, option, wrong):
    said = ablate(capsys, "init", "c", option, wrong)
    names = (
        "classification, regression, multilabel, segmentation, text, token_classification, language_modelling"
    )
    assert (said.code, said.out) == (2, "")
    assert said.err == f"ablate: there is no template '{wrong}'; there are {names}\n"
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("template", LEARNT)
def test_on_a_terminal_it_asks(here, capsys, monkeypatch, template):
    asked = on_a_terminal(monkeypatch, "own", template)
    assert ablate(capsys, "init", "asked").code == 0
    assert f'criterion="{CRITERIA[template]}"' in (here / "asked_task.py").read_text()
    assert ("attention_mask" in (here / "asked_task.py").read_text()) == (template == "text")
    assert [name for name in TEMPLATES if name not in asked[1]] == []


def test_what_is_given_is_not_asked(here, capsys, monkeypatch):
    asked = on_a_terminal(monkeypatch)
    assert ablate(capsys, "init", "a", "--template", "text").code == 0
    assert ablate(capsys, "init", "b", "--task", "own").code == 0
    assert ablate(capsys, "init", "c", "--json").code == 0
    assert asked == []
    assert "attention_mask" in (here / "a_task.py").read_text()
    assert (here / "b_task.py").read_text().replace("b_task", "c_task") == (here / "c_task.py").read_text()


def test_answers_are_taken_as_options_are(here, capsys, monkeypatch):
    asked = on_a_terminal(monkeypatch, "digits")
    assert ablate(capsys, "init", "ready").code == 0
    assert len(asked) == 1
    assert 'task = "digits"' in (here / "ready.toml").read_text()
    on_a_terminal(monkeypatch, "own", "texts")
    said = ablate(capsys, "init", "wrong")
    assert said.code == 2
    assert "there is no template 'texts'" in said.err
    assert [path.name for path in here.iterdir()] == ["ready.toml"]
