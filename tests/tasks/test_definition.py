"""What counts as another model: its structure and the code that training reaches, not comments or what stands beside it."""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics
from torch import nn

import ablate
from ablate.tasks.describe import describe
from ablate.tasks.held_values import HeldValues
from ablate.tasks.load import load

FILE = '''"""A task."""
import torch
from torch import nn
import beside_definition
import ablate

WIDTH = 8
unused = 1

def doubled(x):
    """Twice x."""
    return 2 * x

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, WIDTH), nn.Linear(WIDTH, 2)

    def forward(self, x):
        return self.last(beside_definition.act(doubled(self.first(x))))

x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
task = ablate.Task(model=lambda: Net(), train=(x, (x[:, 0] > 0).long()), epochs=2)
'''
BESIDE = "import torch\ndef act(x):\n    return torch.relu(x)\n"
CHANGES = {
    "comment": ("WIDTH = 8", "WIDTH = 8  # units", ()),
    "docstring": ("Twice x.", "Two times x.", ()),
    "layout": ("    return 2 * x", "    return (\n        2 * x\n    )", ()),
    "unused": ("unused = 1", "unused = 2", ()),
    "epochs": ("epochs=2", "epochs=3", ()),
    "helper": ("2 * x", "3 * x", ("code",)),
    "forward": ("self.last(beside", "-self.last(beside", ("code",)),
    "width": ("WIDTH = 8", "WIDTH = 9", ("structure", "code")),
    "batch size": ("epochs=2", "epochs=2, batch_size=8", ("structure",)),
}


def defined(file: Path) -> dict[str, str]:
    task = load(f"{file}:task")
    return describe(task)["definition"]


@pytest.mark.parametrize(("before", "after", "differ"), CHANGES.values(), ids=CHANGES)
def test_only_what_trains_counts(tmp_path, monkeypatch, before, after, differ):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "beside_definition", raising=False)  # of another test
    (tmp_path / "beside_definition.py").write_text(BESIDE)
    file = tmp_path / "net_file.py"
    file.write_text(FILE)
    one = defined(file)
    file.write_text(FILE.replace(before, after))
    other = defined(file)
    assert tuple(kind for kind in one if one[kind] != other[kind]) == differ


def test_a_module_beside_it_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "beside_definition", raising=False)  # of another test
    beside, file = tmp_path / "beside_definition.py", tmp_path / "net_file.py"
    beside.write_text(BESIDE)
    file.write_text(FILE)
    one = defined(file)
    beside.write_text(BESIDE.replace("relu", "tanh"))
    assert defined(file)["code"] != one["code"]


IMPORTS = {
    "at the top": "from between_definition import act\n",
    "as a module": "import between_definition\nact = between_definition.act\n",
    "of everything": "from between_definition import *\n",
    "within a function": "def act(x):\n    from between_definition import act\n    return act(x)\n",
}


@pytest.mark.parametrize("imports", IMPORTS.values(), ids=IMPORTS)
def test_modules_count_however_many_imports_away(tmp_path, monkeypatch, imports):
    """The task file imports one, which imports a package, whose module has a relative import."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("beside", "between", "pack"):
        monkeypatch.delitem(sys.modules, f"{name}_definition", raising=False)  # of another test
    for name in ("inner", "deepest"):
        monkeypatch.delitem(sys.modules, f"pack_definition.{name}", raising=False)
    package = tmp_path / "pack_definition"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("from .deepest import shape\ndef f(x):\n    return shape(x)\n")
    deepest, other = package / "deepest.py", package / "other.py"
    deepest.write_text("import torch\ndef shape(x):\n    return torch.relu(x)\n")
    other.write_text("nobody = 1\n")
    (tmp_path / "between_definition.py").write_text(
        "from pack_definition.inner import f\ndef act(x):\n    return f(x)\n"
    )
    (tmp_path / "beside_definition.py").write_text(imports)
    file = tmp_path / "net_file.py"
    file.write_text(FILE)
    one = defined(file)
    other.write_text("nobody = 2\n")
    assert defined(file) == one
    deepest.write_text(deepest.read_text().replace("relu", "tanh"))
    assert defined(file)["code"] != one["code"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("try:\n    from no_such_module import twice\nexcept ImportError:\n    def twice(x):\n        return 2 * x\n", ("2 * x", "3 * x")),
        ("FACTOR = {}\nFACTOR['a'] = 2\ndef twice(x):\n    return FACTOR['a'] * x\n", ("= 2", "= 3")),
    ],
    ids=["in a try", "an item of a value"],
)  # fmt: skip
def test_what_a_helper_is_built_of_counts(tmp_path, monkeypatch, before, after):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "beside_definition", raising=False)
    (tmp_path / "beside_definition.py").write_text(BESIDE)
    text = FILE.replace("doubled(self", "twice(self").replace("WIDTH = 8", f"{before}\nWIDTH = 8")
    file = tmp_path / "net_file.py"
    file.write_text(text)
    one = defined(file)
    file.write_text(text.replace(*after))
    assert defined(file)["code"] != one["code"]


def test_a_module_that_python_cannot_read_is_compared_as_it_stands(tmp_path, monkeypatch):
    """It may be imported where it is never reached."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "beside_definition", raising=False)
    (tmp_path / "beside_definition.py").write_text(BESIDE + "def never():\n    import broken_definition\n")
    broken, file = tmp_path / "broken_definition.py", tmp_path / "net_file.py"
    broken.write_text("def f(:\n")
    file.write_text(FILE)
    one = defined(file)
    assert defined(file) == one
    broken.write_text("def g(:\n")
    assert defined(file)["code"] != one["code"]


HOLDS = '''"""A task whose code reads its numbers from a file."""
import argparse
import functools
import itertools
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
import ablate

GIVEN = json.loads((Path(__file__).parent / "given.json").read_text())
BY_CALL = {}
BY_CALL.update(factor=GIVEN["call"])
OPTIONS = argparse.Namespace(power=GIVEN["namespace"])
CREATED = itertools.count()
WEIGHTS = torch.tensor(GIVEN["tensor"])
TABLE = np.array(GIVEN["array"])

class Settings:
    scale = GIVEN["class"]

class Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale, self._hidden, self.made = scale, GIVEN["hidden"], time.time_ns()
        self.register_buffer("never_equal", torch.rand(3), persistent=False)

    def forward(self, x):
        return x * self.scale * Settings.scale

class Weighing:
    def __init__(self, share):
        self.share = share

    def __call__(self, outputs, y):
        return self.share * nn.functional.cross_entropy(outputs, y, WEIGHTS) * OPTIONS.power

def build(width, act):
    next(CREATED)
    return nn.Sequential(nn.Linear(4, width), act(), Scaled(GIVEN["attribute"]), nn.Linear(width, 2), nn.Softplus(GIVEN["layer"]))

def maker(temperature, weights):
    @torch.no_grad()
    def sharp(outputs, y, default=GIVEN["default"]):
        return float((outputs / temperature).softmax(-1).max()) + default + float(TABLE.sum()) + BY_CALL["factor"] + float(weights[0])
    return sharp

x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
task = ablate.Task(
    model=functools.partial(build, 8, act=getattr(nn, GIVEN["partial"])),
    train=(x, (x[:, 0] > 0).long()),
    loss=Weighing(GIVEN["instance"]),
    metrics={"sharp": (maker(GIVEN["closure"], torch.tensor([GIVEN["weight"]])), "maximize")},
    epochs=2,
)
'''
GIVEN = {"call": 1, "namespace": 1.0, "tensor": [1.0, 1.0], "array": [1, 2], "class": 1.0, "attribute": 1.0, "hidden": 1, "layer": 1.0,
         "default": 0.0, "partial": "ReLU", "instance": 1.0, "closure": 1.0, "weight": 0.5}  # fmt: skip
OTHERS = {
    **dict.fromkeys(GIVEN, 2.0),
    "tensor": [1.0, 2.0],
    "array": [1, 3],
    "partial": "Tanh",
    "weight": 0.75,
}


@pytest.mark.parametrize("name", GIVEN)
def test_values_that_no_text_shows_count(tmp_path, name):
    file = tmp_path / "holds_file.py"
    file.write_text(HOLDS)
    (tmp_path / "given.json").write_text(json.dumps(GIVEN))
    one = defined(file)
    (tmp_path / "given.json").write_text(json.dumps({**GIVEN, name: OTHERS[name]}))
    assert defined(file) != one


def test_what_is_held_is_the_same_in_every_process_and_at_every_time(tmp_path):
    """Times, counters and random buffers do not count."""
    file = tmp_path / "holds_file.py"
    file.write_text(HOLDS)
    (tmp_path / "given.json").write_text(json.dumps(GIVEN))
    task = load(f"{file}:task")
    one = describe(task)["definition"]
    ablate.train(task, epochs=1)
    assert describe(task)["definition"] == one
    code = f"from ablate.tasks.load import load\nfrom ablate.tasks.describe import describe\nprint(describe(load({f'{file}:task'!r}))['definition'])"
    for seed in ("1", "2"):
        process = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert process.stdout.strip() == str(one)


def test_values_of_any_kind_are_noted_without_an_error():
    """Cycles, depth, empty cells, lazy, nested and sparse tensors, metrics in use, objects that refuse."""
    loop: list[object] = []
    loop.append(loop)
    deep: list[object] = []
    for _ in range(5_000):
        deep = [deep]

    class Slots:
        __slots__ = ("a",)

    def unfilled():
        return later

    metric = torchmetrics.classification.BinaryAccuracy()
    values = [
        loop, deep, unfilled, Slots(), os.environ, os, nn.LazyLinear(3), torch.ones(2, 2).to_sparse(), torch.ones(2, device="meta"),
        torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]),
        torch.ones(0), torch.tensor(1 + 2j).conj(), torch.tensor(True), torch.ones(3, dtype=torch.bfloat16), np.array(["a", None]), np.float32(1),
        {1: {2, 3}, (1, 2): frozenset("ab")}, re.compile("a"), iter("a"), functools.lru_cache(unfilled), nn.ReLU, int, len, metric, Exception("a"),
    ]  # fmt: skip
    once, again = HeldValues(), HeldValues()
    once.add("values", values)
    metric.update(torch.ones(3), torch.ones(3, dtype=torch.long))
    again.add("values", values)
    assert once.lines == again.lines
    assert len(once.lines) > len(values)
    later = 1
    assert unfilled() == later
