"""Train a run as ablate does, one lane in the kernel "loop", and as its exported script does, in a folder that holds nothing else."""

from __future__ import annotations

import ast
import random
import runpy
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from ablate.catalogue.registry import Registry, registry
from ablate.export.script import Script, script_of
from ablate.lanes.context import TaskContext
from ablate.lanes.training import Training
from ablate.records.recipe import Recipe, conflict
from ablate.records.run import Outcome, Result, Run
from ablate.records.trick import OPTIMIZER, Trick
from ablate.tasks.task import Task

TIGHT = 2e-4
"""Relative difference of losses that rounding explains after a few steps."""
LOOSE = {"amp": 2e-2, "i_fgsm": 1e-2, "fgsm": 1e-2, "pgd": 1e-2, "fgm": 1e-2, "lion": 1e-2}
"""The same beside tricks that make more of it: numbers of 8 bits, and the signs of gradients near zero."""


def engine(task: Task, run: Run, splits: Sequence[str] = ("validation", "test")) -> Result:
    """The run's result."""
    (result,) = Training(_probed(task).with_catalogue(registry()), [run], splits).finish()
    return result


@cache
def _probed(task: Task) -> TaskContext:
    """The task's context; what a probe finds does not depend on the catalogue."""
    return TaskContext.of(task, registry(), torch.device("cpu"), "loop")


def scripted(script: Script, folder: Path) -> dict[str, float]:
    """The metrics that the script comes to."""
    (folder / "train.py").write_text(script.text, encoding="utf-8")
    torch.save(script.data, folder / "data.pt")
    module = runpy.run_path(str(folder / "train.py"), run_name="exported")
    _, metrics = module["train"](torch.load(folder / "data.pt", weights_only=True))
    return metrics


def check_same(
    task: Task, tricks: Mapping[str, Any], folder: Path, *, epochs: int = 1, seed: int = 3
) -> Script:
    """The script of `tricks` comes to the engine's metrics, and imports torch and the standard library only."""
    run = Run(task.name, Recipe.of(registry(), tricks), seed, epochs)
    splits = tuple(name for name in task.splits if name != "train")
    wanted = engine(task, run, splits)
    assert wanted.outcome is Outcome.COMPLETE, wanted.note
    script = script_of(task, run)
    slack = max([TIGHT, *(LOOSE[name] for name in run.recipe if name in LOOSE)])
    assert imported(script.text) <= {"torch", *sys.stdlib_module_names}
    metrics = scripted(script, folder)
    for split in splits:
        assert metrics[f"{split}/loss"] == pytest.approx(wanted.metrics[f"{split}/loss"], rel=slack, abs=1e-6), (
            split, list(run.recipe),
        )  # fmt: skip
    for name, value in metrics.items():
        if not name.endswith("/loss"):
            examples = 1.01 if slack == TIGHT else 4.01  # that may fall on the other side of a boundary
            share = examples / len(task.splits[name.partition("/")[0]])
            assert value == pytest.approx(wanted.metrics[name], rel=slack, abs=share), name
    return script


def imported(text: str) -> set[str]:
    """The packages that a script imports."""
    packages = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            packages.add(str(node.module).partition(".")[0])
    return packages - {"__future__"}


def recipes(tricks: Sequence[Trick], catalogue: Registry, seed: int) -> list[dict[str, dict[str, Any]]]:
    """Random recipes, each as full as conflicts let it be, until every trick has been in one. Settings are drawn, too."""
    draw = random.Random(seed)
    left = {trick.name for trick in tricks}
    drawn = []
    while left:
        order = sorted(tricks, key=lambda trick: (trick.name not in left, draw.random()))
        chosen: list[Trick] = []
        for trick in order:
            if not any(conflict(trick, other) for other in chosen):
                chosen.append(trick)
        if not any(trick.slot == OPTIMIZER for trick in chosen):
            raise AssertionError("no optimizer fits")
        left -= {trick.name for trick in chosen}
        drawn.append({trick.name: settings(trick, draw) for trick in chosen})
    return drawn


def settings(trick: Trick, draw: random.Random) -> dict[str, Any]:
    """Settings between the default and a drawn one, so that training stays in bounds; the default of a rate."""
    values: dict[str, Any] = {}
    for parameter in trick.parameters:
        if parameter.name == "lr" or trick.name == "batch_size":
            continue
        if not parameter.is_number:
            choices = parameter.choices or (False, True)
            values[parameter.name] = draw.choice(
                [c for c in choices if c not in ("constant", "zero")] or list(choices)
            )
        elif not parameter.is_integer and parameter.low is not None and parameter.high is not None:
            values[parameter.name] = float(parameter.default) * (1 + 0.05 * draw.random())
            if values[parameter.name] > parameter.high:
                values[parameter.name] = float(parameter.default)
    return values
