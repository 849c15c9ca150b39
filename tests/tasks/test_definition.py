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
