"""Tasks, losses, metrics, loaders, folders and tables wrong in the ways that people get them wrong: one line, exit code 2."""

from __future__ import annotations

import numpy as np
import pytest
from cli_samples import ablate
from PIL import Image

HEAD = """
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from ablate.tasks.task import Task

torch.manual_seed(0)
x, y = torch.randn(40, 4), torch.arange(40) % 2

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(4, width)
    def forward(self, x):
        return self.layer(x)

class Short(IterableDataset):
    def __len__(self):
        return 40
    def __iter__(self):
        return iter([(x[0], 0)] * 7)

class Several(Net):
    def forward(self, x):
        return self.layer(x), self.layer(x)

def nan(outputs, targets):
    return float("nan")

def linear():
    return nn.Linear(4, 2)

"""
TASKS = {
    "rows that disagree": ("Task(linear, (x, y[:39]))", "train: x has 40 rows and y has 39; give one y for each x"),
    "splits that disagree": ("Task(linear, (x, y), (x[:, :3], y))", "validation x has examples of shape [3], train x of shape [4]"),
    "outputs that disagree": ("Task(lambda: nn.Linear(4, 3), (x, y))", "the model's output has shape [8, 3], expected [8, 2]"),
    "inputs that disagree": ("Task(lambda: nn.Linear(5, 2), (x, y))", "mat1 and mat2 shapes cannot be multiplied"),
    "loss of another shape": ("Task(linear, (x, y), loss=lambda o, t: o)", "return a number for each example, [batch], or their mean"),
    "loss without gradient": ("Task(linear, (x, y), loss=lambda o, t: o.argmax(1).float())", "the loss has no gradient"),
    "loss that is NaN": ("Task(linear, (x, y), loss=lambda o, t: (o.mean() * 0).log() * 0)", "the loss is NaN for the fresh"),
    "loss of a type": ("Task(linear, (x, y), loss=nn.CrossEntropyLoss)", "give an object: loss=CrossEntropyLoss()"),
    "loss of other targets": ("Task(linear, (x, y), loss=nn.MSELoss())", "targets int64 [8]"),
    "metric that is NaN": ('Task(linear, (x, y), metrics={"own": (nan, "maximize")}, metric="own")', "the metric 'own' is not finite for the fresh"),
    "metric without direction": ('Task(linear, (x, y), metrics={"own": nan})', "nothing says whether a high 'own' is good"),
    "metric of several numbers": ('Task(linear, (x, y), metrics={"own": (lambda o, t: o, "maximize")})', "the metric 'own' returned a Tensor"),
    "loader that ends early": ("Task(linear, DataLoader(Short(), 8))", "train ends after 7 of 40 examples; let every pass give as"),
    "empty loader": ("Task(linear, DataLoader(TensorDataset(x[:0], y[:0]), 8))", "train is empty; a split needs at least one"),
    "loader of inputs alone": ("Task(linear, DataLoader(TensorDataset(x), 8))", "item 0 of the Dataset is a tuple of 1; return (x, y)"),
    "module with arguments": ("Task(Net, (x, y))", "missing 1 required positional argument: 'width'; the model is made by a call without arguments: give them in a function"),
    "module itself": ("Task(Net(2), (x, y))", "every run needs fresh weights: model=lambda: MyNet()"),
    "several outputs": ("Task(lambda: Several(2), (x, y))", 'give output="NAME" or output=POSITION to the task'),
    "unknown output": ('Task(lambda: Several(2), (x, y), output="logits")', "unknown output of the model 'logits'; known: 0, 1"),
    "labels of several": ('Task(linear, (x, (x > 0).float()))', 'criterion="multilabel"'),
    "one class": ("Task(linear, (x, y * 0))", "train y holds one class only, 0; give examples of at least two classes"),
}  # fmt: skip


def refused(capsys, *words):
    """The one line of a refusal."""
    said = ablate(capsys, *words)
    assert said.code == 2, said
    assert said.out == ""
    assert said.err.startswith("ablate: ")
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    return said.err


@pytest.mark.parametrize("name", TASKS)
def test_a_task_that_cannot_be_trained_is_refused_in_one_line(capsys, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    made, message = TASKS[name]
    (tmp_path / "own.py").write_text(f"{HEAD}task = {made}\n")
    assert message in refused(capsys, "tasks", "own.py:task")


def test_a_folder_of_one_class_is_refused_in_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images" / "cats").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images" / "cats" / f"{number}.png")
    line = refused(capsys, "tasks", "images")
    assert "images holds one class only, 'cats'; give every class a subfolder of its images" in line


TABLES = {
    "no target": (("data.csv",), "write data.csv:COLUMN, or --target COLUMN; columns: age, income"),
    "another target": (("data.csv:incom",), "unknown column of data.csv 'incom'; did you mean 'income'?"),
    "option": (
        ("data.csv", "--target", "incom"),
        "unknown column of data.csv 'incom'; did you mean 'income'?",
    ),
    "two targets": (("data.csv:age", "--target", "income"), "names a column already"),
    "no table": (("digits", "--target", "income"), "--target is for a table, and 'digits' is none"),
    "no file": (("dat.csv", "--target", "income"), "there is no file dat.csv"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_without_its_target_is_refused_in_one_line(capsys, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").write_text(
        "age,income\n" + "".join(f"{20 + i % 31},{i % 2}\n" for i in range(40))
    )
    words, message = TABLES[name]
    assert message in refused(capsys, "tasks", *words)
    said = ablate(capsys, "tasks", "data.csv", "--target", "income")
    assert (said.code, "data.csv:income" in said.out) == (0, True)
