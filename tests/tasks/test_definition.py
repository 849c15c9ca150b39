"""What counts as another model: its structure and the code that training reaches, not comments or what stands beside it."""

import sys
from pathlib import Path

import pytest

from ablate.tasks.definition import definition
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
    return definition(task, task.model())


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
