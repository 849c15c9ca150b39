"""Bring your own: images, tables, regression, odd data and odd models, from a file by `file.py:task`."""

from __future__ import annotations

import pytest
from study_samples import NO_RATE, STUDY, TABULAR, Heard, place

from ablate.records.errors import InputError

HEAD = """
import torch
from torch import nn
from ablate.tasks.task import Task
generator = torch.Generator().manual_seed(1)
def draw(*shape):
    return torch.randn(*shape, generator=generator)
"""
IMAGES = (
    HEAD
    + """
x = draw(90, 1, 6, 6)
y = (x.mean((1, 2, 3)) > 0).long()
def model():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
task = Task(model=model, train=(x, y), epochs=2, batch_size=16)
"""
)
REGRESSION = (
    HEAD
    + """
x = draw(90, 3)
y = (2 * x[:, 0] - x[:, 1]){shape}
task = Task(
    model=lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)), train=(x, y), criterion="regression",
    epochs=2, batch_size=16,
)
"""
)
SHORT = STUDY.replace("trials = 6", "trials = 3")
LOW = SHORT.replace("lr = 0.1", "lr = 0.01")


def metrics(entries, name):
    return [e.result.metrics[name] for e in entries if str(e.result.outcome) == "complete"]


def test_images(tmp_path):
    study = SHORT.replace('"placebo"]', '"placebo", "flip", "translate", "mixup", "batch_norm"]').replace(
        '"flip", ', ""
    )
    here = place(tmp_path, IMAGES, study)
    entries = here.run(NO_RATE[:-1])
    assert {e.stage for e in entries} == {"search", "select", "retune", "rank", "confirm"}
    assert all(0 <= value <= 1 for value in metrics(entries, "validation/accuracy"))
    assert {"translate", "batch_norm"} & {factor["name"] for factor in here.fact("rank")["design"]["factors"]}


@pytest.mark.parametrize("shape", ["", "[:, None]"], ids=["N", "Nx1"])
def test_regression(tmp_path, shape):
    here = place(tmp_path, REGRESSION.format(shape=shape), LOW)
    entries = here.run()
    confirmed = [e for e in entries if e.stage == "confirm"]
    assert all("test/rmse" in e.result.metrics for e in confirmed)
    assert here.fact("study")["direction"] == "lower"
    best = here.fact("search")["best"]["value"]
    selected = [e.result.metrics["validation/rmse"] for e in entries if e.stage == "select"]
    assert min(selected) <= best <= max(selected)
    assert (here.report / "index.html").is_file()


def test_both_shapes_of_targets_are_the_same_task(tmp_path):
    runs = [
        metrics(
            place(tmp_path / name, REGRESSION.format(shape=shape), LOW).run(("search",)), "validation/rmse"
        )
        for name, shape in (("a", ""), ("b", "[:, None]"))
    ]
    assert runs[0] == runs[1]
    assert runs[0]


def test_a_model_that_cannot_be_vmapped_says_so_and_trains(tmp_path):
    branching = TABULAR.replace("nn.Linear(4, 8)", "Branch(), nn.Linear(4, 8)").replace(
        "generator =",
        "class Branch(nn.Module):\n    def forward(self, x):\n        return x if x.sum().item() > 0 else 2 * x\n\ngenerator =",
        1,
    )
    here, heard = place(tmp_path, branching, SHORT), Heard()
    entries = here.run(("search",), progress=heard)
    assert len([e for e in entries if e.stage == "search"]) == 3
    lines = [line for line in heard.said if "cannot be vmapped" in line]
    assert lines, heard.said
    assert "\n" not in lines[0]


def test_no_test_split_is_confirmed_on_validation_data(tmp_path):
    here = place(tmp_path, TABULAR.replace("train=(x, y)", "train=(x, y), test=False"), SHORT)
    confirmed = [e for e in here.run(NO_RATE) if e.stage == "confirm"]
    assert confirmed
    assert not any(name.startswith("test") for e in confirmed for name in e.result.metrics)


def odd(name, x="x", y="y", classes=2, inputs=4, batch=16):
    return pytest.param(
        HEAD + f"x = draw(60, 4)\ny = (x[:, 0] > 0).long()\nx, y = {x}, {y}\n"
        f"task = Task(model=lambda: nn.Sequential(nn.Linear({inputs}, 4), nn.ReLU(), nn.Linear(4, {classes})),"
        f" train=(x, y), epochs=1, batch_size={batch})\n",
        id=name,
    )  # fmt: skip


@pytest.mark.parametrize(
    "task",
    [
        odd("batch-larger-than-data", batch=1000),
        odd("constant-features", x="torch.ones(60, 4)"),
        odd("one-feature", x="x[:, :1]", inputs=1),
        odd("one-example-of-a-class", y="torch.where(torch.arange(60) == 7, 2, y)", classes=3),
        odd("batch-of-one", x="x[:20]", y="y[:20]", batch=1),
    ],
)
def test_odd_data_goes_through_every_stage(tmp_path, task):
    here = place(tmp_path, task, SHORT)
    entries = here.run(NO_RATE[:-1])
    assert {e.stage for e in entries} == {"search", "select", "retune", "rank", "confirm"}
    assert all(str(e.result.outcome) in ("complete", "pruned", "diverged") for e in entries)


@pytest.mark.parametrize(
    "study",
    [
        STUDY.replace("trials = 6", "trials = 1"),
        "epochs = 1\n" + STUDY.replace("trials = 6", "trials = 1"),
        STUDY.replace("trials = 6", 'trials = 3\nsampler = "qmc"\npruner = "none"'),
        STUDY.replace("trials = 6", 'trials = 3\nsampler = "random"\npruner = "median"'),
        STUDY.replace("waves = 1", 'waves = 1\naround = "baseline"\nmargin = 0.01\nmust_have = ["dropout"]'),
        'metric = "validation/loss"\n' + STUDY,
    ],
    ids=["one-trial", "one-epoch", "qmc", "random", "around-baseline", "other-metric"],
)
def test_odd_study_files(tmp_path, study):
    here = place(tmp_path, study=study)
    assert {e.stage for e in here.run(NO_RATE[:-1])} == {"search", "select", "retune", "rank", "confirm"}


@pytest.mark.parametrize("trials", [1, 3])
def test_the_smallest_studies_are_reported(tmp_path, trials):
    study = "epochs = 1\n" + STUDY.replace("trials = 6", f"trials = {trials}")
    here = place(tmp_path, TABULAR.replace("batch_size=16", "batch_size=1000"), study)
    here.run(NO_RATE)
    assert (here.report / "index.html").is_file()


def test_the_same_ledger_under_a_changed_file_is_refused_in_one_line(tmp_path):
    here = place(tmp_path, study=SHORT)
    here.run(("search",))
    before = here.ledger.read_bytes()
    file = tmp_path / "tiny.toml"
    file.write_text(file.read_text().replace("lr = 0.1", "lr = 0.2"))
    with pytest.raises(
        InputError, match=r"was made from another study: baseline.*lr was 0.1 and is now 0.2"
    ) as caught:
        here.run(("search",))
    assert "\n" not in str(caught.value)
    assert here.ledger.read_bytes() == before


def test_more_trials_are_no_other_study(tmp_path):
    here = place(tmp_path, study=SHORT)
    few = here.run(("search",))
    file = tmp_path / "tiny.toml"
    file.write_text(file.read_text().replace("trials = 3", "trials = 5"))
    more = here.run(("search",))
    assert {e.identity for e in few} < {e.identity for e in more}
    assert [e.trial for e in more if e.stage == "search"] == [0, 1, 2, 3, 4]


def test_other_data_under_a_ledger_is_refused(tmp_path):
    here = place(tmp_path, study=SHORT)
    here.run(("search",))
    file = tmp_path / "tiny_task.py"
    file.write_text(file.read_text().replace("manual_seed(1)", "manual_seed(2)"))
    with pytest.raises(InputError, match="the data of 'tiny_task' changed"):
        here.run(("search",))


def test_a_comment_in_the_task_file_is_told_and_goes_on(tmp_path):
    here, heard = place(tmp_path, study=SHORT), Heard()
    here.run(("search",))
    file = tmp_path / "tiny_task.py"
    file.write_text(file.read_text() + "# a comment\n")
    here.run(("search",), progress=heard)
    assert any("has changed since the study was begun" in line for line in heard.said)
    assert heard.entries == []
