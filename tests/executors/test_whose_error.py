"""An exception that a kernel raises for a line of the user's `forward` is the user's; one of a kernel's own is not."""

from __future__ import annotations

import importlib
import tomllib
from itertools import chain
from pathlib import Path
from types import CodeType

import pytest
import torch
from torch import fx, nn

from ablate.catalogue.registry import registry
from ablate.executors.job import Job, context_of, run_job
from ablate.executors.job_error import LIBRARIES, JobError, error_location
from ablate.lanes import trainer
from ablate.lanes.context import TaskContext
from ablate.lanes.train import train
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.tasks.task import Task

TASK = """
import torch
from torch import nn
from ablate.tasks.task import Task

x = torch.randn(100, 4, generator=torch.Generator().manual_seed(1)).clamp(-2, 2)
y = (x[:, 0] > 0).long()
x[70, 0] = 9.0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Parameter(torch.ones(1, 4)), nn.Linear(4, 2)

    def forward(self, x):
        shift = nn.functional.embedding((x[:, 0] > 5).long(), self.table)
        return self.head(x + shift)


task = Task(model=Net, train=(x, y), validation=(x[:20], y[:20]), test=False, epochs=2, batch_size=16)
"""
LINE = TASK[: TASK.index("shift =")].count("\n") + 1
KERNELS = ("compiled", "batched", "vmap", "loop")


EXITING = TASK.replace(
    "        shift =",
    "        if bool((x[:, 0] > 5).any()):\n            raise SystemExit(0)\n        shift =",
)


def job_of(folder: Path, kernel: str, text: str = TASK) -> Job:
    file = folder / "indexed.py"
    file.write_text(text)
    recipe = Recipe.of(registry(), {"momentum": {"lr": 0.01}})
    context_of.cache_clear()
    runs = tuple(Run("indexed", recipe, seed, 2) for seed in range(2))
    return Job(f"{file}:task", runs, kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_index_out_of_bounds_is_the_line_of_the_model(kernel: str, tmp_path: Path):
    with pytest.raises(JobError) as caught:
        run_job(job_of(tmp_path, kernel))
    assert not caught.value.is_internal
    assert caught.value.location == f"indexed.py:{LINE}"
    assert caught.value.message.startswith("IndexError")


@pytest.mark.parametrize("kernel", ["compiled", "loop"])
def test_an_error_of_ablate_s_own_stays_ours(kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    job = job_of(tmp_path, kernel)
    monkeypatch.setattr(trainer, "share_right", len)
    with pytest.raises(JobError) as caught:
        run_job(job)
    assert caught.value.is_internal
    assert caught.value.location.startswith("ablate/lanes/trainer.py:")


def test_a_model_that_exits_has_failed(tmp_path: Path):
    """Its exit code must not become the study's."""
    with pytest.raises(JobError) as caught:
        run_job(job_of(tmp_path, "loop", EXITING))
    assert caught.value.message == "SystemExit: 0"
    assert caught.value.location == f"indexed.py:{LINE + 1}"


NET = """
from torch import nn

BOOM = []


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        if BOOM:
            raise KeyError("mine")
        return self.layer(x)
"""
RAISES = NET[: NET.index("raise")].count("\n") + 1


def error_of(net: type[nn.Module], boom: list[bool]) -> JobError:
    """The error of a training in which the model raises."""
    x = torch.linspace(-1, 1, 40).reshape(10, 4)
    task = Task(model=net, train=(x, (x[:, 0] > 0).long()), epochs=1, batch_size=5, name="t")
    context = TaskContext.of(task, registry(), torch.device("cpu"), "loop")
    boom.append(True)
    with pytest.raises(KeyError) as caught:
        train(context, [Run("t", Recipe.of(registry(), {"momentum": {"lr": 0.1}}), 0, 1)])
    return JobError.of(caught.value)


@pytest.mark.parametrize("file", ["/tmp/ipykernel_77/123.py", "<stdin>", "<ipython-input-3>", "<string>"])
def test_code_without_a_file_is_the_user_s(file: str):
    """A notebook's cell, a Python prompt, `python -c`: nothing of theirs is on disk."""
    cell: dict[str, object] = {"__name__": "__main__"}
    run_code(compile(NET, file, "exec"), cell)
    error = error_of(cell["Net"], cell["BOOM"])
    assert (error.location, error.is_internal) == (f"{Path(file).name}:{RAISES}", False)


def test_an_installed_package_of_the_user_s_is_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where no line of another file of the user's called it."""
    package = tmp_path / "site-packages" / "own_package_of_mine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(NET)
    monkeypatch.syspath_prepend(package.parent)
    module = importlib.import_module("own_package_of_mine")
    error = error_of(module.Net, module.BOOM)
    assert (error.location, error.is_internal) == (f"own_package_of_mine/__init__.py:{RAISES}", False)


def test_code_that_torch_generated_is_nobody_s():
    """Whoever called it is named."""
    traced = fx.symbolic_trace(nn.Linear(4, 2))
    with pytest.raises(RuntimeError) as caught:
        traced.forward(torch.ones(3))
    assert any("<eval_with_key>" in str(entry) for entry in caught.traceback)
    assert error_location(caught.value) == (f"{Path(__file__).name}:{caught.traceback[0].lineno + 1}", False)


def test_a_module_with_the_name_of_python_s_is_the_user_s(tmp_path: Path):
    (tmp_path / "statistics.py").write_text(NET)
    cell: dict[str, object] = {"__name__": "statistics"}
    run_code(compile(NET, str(tmp_path / "statistics.py"), "exec"), cell)
    assert error_of(cell["Net"], cell["BOOM"]).location == f"statistics.py:{RAISES}"


def run_code(code: CodeType, names: dict[str, object]) -> None:
    """As a notebook does with a cell."""
    from code import InteractiveInterpreter

    interpreter = InteractiveInterpreter(names)
    interpreter.runcode(code)


def test_the_libraries_are_those_that_ablate_depends_on():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = {k: v for k, v in project["optional-dependencies"].items() if k not in ("dev", "docs")}
    names = {"scikit-learn": "sklearn", "pillow": "PIL", "mlflow-skinny": "mlflow"}
    for requirement in [*project["dependencies"], *chain(*extras.values())]:
        name = requirement.partition(">")[0]
        assert names.get(name, name.replace("-", "_")) in LIBRARIES
