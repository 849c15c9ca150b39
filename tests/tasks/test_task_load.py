"""`load`: built-in names, a user's file.py:name, and one line for whatever goes wrong in that file."""

import hashlib
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from ablate.records.errors import InputError
from ablate.tasks.load import load

GOOD = """
import torch
from torch import nn
from ablate.tasks.task import Task

x, y = torch.randn(40, 3), torch.arange(40) % 2
task = Task(model=lambda: nn.Linear(3, 2), train=(x, y))
named = Task(model=lambda: nn.Linear(3, 2), train=(x, y), name="own-name", title="Own title")

def made():
    return Task(model=lambda: nn.Linear(3, 2), train=(x, y), epochs=3)

def broken():
    return [][1]

number = 3
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(text, name="my_task.py"):
        (tmp_path / name).write_text(text)
        return name

    return write


def fails(name):
    with pytest.raises(InputError) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_attribute_is_a_task_or_a_function_that_returns_one(file):
    file(GOOD)
    task = load("my_task.py:task")
    assert (task.name, task.title, task.source) == ("my_task", "my_task", "my_task.py:task")
    assert task.source_sha256 == hashlib.sha256(GOOD.encode()).hexdigest()
    assert (load("my_task.py:named").name, load("my_task.py:named").title) == ("own-name", "Own title")
    assert (load("my_task.py:made").name, load("my_task.py:made").epochs) == ("my_task-made", 3)


def test_loading_is_repeatable_also_in_another_process_and_leaves_the_generators_alone(file, tmp_path):
    file(GOOD)
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    first = load("my_task.py:task").data_sha256
    torch.randn(3)
    assert load("my_task.py:task").data_sha256 == first
    torch.manual_seed(5)
    assert load("my_task.py:task").data_sha256 == first
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state[1:]
    code = "from ablate.tasks.load import load; print(load('my_task.py:task').data_sha256)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.strip() == first


def test_a_changed_file_is_read_anew_and_nothing_is_written_beside_it(file, tmp_path):
    file(GOOD)
    load("my_task.py:task")
    file(GOOD.replace("% 2", "% 4 // 2"))
    assert load("my_task.py:task").train.y[:4].tolist() != [0, 1, 0, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["my_task.py"]


def test_only_the_typed_file_and_what_it_imports_is_run(file, tmp_path):
    file("raise SystemExit('must not run')", "other.py")
    file("HELP = 7", "helper_of_my_task.py")
    file("import helper_of_my_task\n" + GOOD)
    assert load("my_task.py:task").classes == 2


def test_a_file_alone_is_its_only_task_or_the_one_called_task(file):
    file(GOOD)
    assert [(load(name).name, load(name).source) for name in ("my_task.py", "my_task.py:")] == [
        ("my_task", "my_task.py:task")
    ] * 2
    file(GOOD.replace("task =", "mine =").replace("named =", "named = None #"), "other.py")
    assert (load("other.py").name, load("other.py").source) == ("other-mine", "other.py:mine")


def test_a_module_left_over_from_a_failure_is_gone(file):
    file("1/0")
    before = set(sys.modules)
    fails("my_task.py:task")
    assert {name for name in sys.modules if name.startswith("ablate_task_")} <= before


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("\n\nx = 1 / 0", ":task", "the task file my_task.py failed at my_task.py:3: ZeroDivisionError: division by zero"),
        ("def f():\n  return {}['a']\nf()", ":task", "the task file my_task.py failed at my_task.py:2: KeyError: 'a'"),
        ("import numpy\n\nnumpy.ones(3) @ numpy.ones(4)", ":task", "the task file my_task.py failed at my_task.py:3: V"),
        ("x = (\n", ":task", "the task file my_task.py failed at my_task.py:1: SyntaxError: '(' was never closed"),
        ("import not_there_at_all", ":task", "the task file my_task.py failed at my_task.py:1: ModuleNotFoundError: "),
        ("raise SystemExit(3)", ":task", "the task file my_task.py failed at my_task.py:1: SystemExit: 3"),
        ("assert 0", ":task", "the task file my_task.py failed at my_task.py:1: AssertionError"),
        (GOOD.replace("nn.Linear(3, 2), train=(x, y))", "nn.Linear(3, 2), train=(x, y[:9]))", 1), ":task",
         "my_task.py:7: train: x has 40 rows and y has 9; give one y for each x"),
        (GOOD, ":tsak", "unknown task in my_task.py 'tsak'; did you mean 'task'?"),
        (GOOD, ":number", "'number' in my_task.py is of type int; it must be an ablate.Task, or a function"),
        (GOOD, ":broken", "broken() of my_task.py failed at my_task.py:14: IndexError: list index out of range"),
        ("x = 1", ":task", "my_task.py holds no 'task', and no task under another name; write task = ablate.Task("),
        ("\0", ":task", "the task file my_task.py failed"),
        (GOOD.replace("task =", "mine ="), "", "'my_task.py' holds several tasks; write my_task.py:mine or my_task.py:named"),
        ("x = 1", ":", "my_task.py holds no 'task', and no task under another name; write task = ablate.Task("),
    ],
)  # fmt: skip
def test_what_goes_wrong_in_a_file_is_told_in_one_line(file, text, name, message):
    assert fails(file(text) + name).startswith(message)


def test_the_traceback_is_kept_for_debugging(file):
    file("1/0")
    with pytest.raises(InputError) as caught:
        load("my_task.py:task")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_ctrl_c_in_a_file_is_not_swallowed(file):
    file("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load("my_task.py:task")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", "unknown task 'digit'; did you mean 'digits'?; your own task is named as my_task.py:task"),
        ("fashion_mnist", "unknown task 'fashion_mnist'; did you mean 'fashion-mnist'?; your own"),
        ("zzz", "unknown task 'zzz'; known: adult, breast-cancer,"),
        ("", "unknown task ''; known: adult"),
        ("nowhere.py:task", "there is no file nowhere.py; give its path relative to the current folder"),
        ("folder.py:task", "folder.py cannot be read (Is a directory)"),
    ],
)
def test_a_name_that_is_nothing(file, tmp_path, name, message):
    (tmp_path / "folder.py").mkdir()
    assert fails(name).startswith(message)
