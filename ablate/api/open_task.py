"""The ways to give a task to the functions of the API: a name, a path, a `Task`, a model and its data, or an earlier study."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ablate.api.result import Study
from ablate.api.settings import StudySettings, options_from, sections_change
from ablate.api.stages import PYTHON, Change, changed, open_study, with_tricks
from ablate.records import study as studies
from ablate.records.errors import InputError
from ablate.records.names import check_name
from ablate.study.request import Opened, Options
from ablate.tasks.check import check
from ablate.tasks.task import Task

SPLITS = ("train", "validation", "test")
TASK_HINT = (
    'give a name ("digits"), a path ("my_task.py:task", "data.csv:target", "study.toml"), an ablate.Task, '
    "or model= and data="
)


def opened_for(
    task: Any,
    settings: StudySettings,
    model: Any = None,
    data: Any = None,
    criterion: str = "",
    *,
    trials: int | None = None,
    change: Change | None = None,
) -> tuple[Opened, Options]:
    """The study to run and its options: the first step of every function of the API. Raises InputError."""
    changes = [sections_change(settings, trials), *([change] if change else [])]
    if not isinstance(task, Study):
        options = options_from(settings)
        return opened_from(task, options, *changes, model=model, data=data, criterion=criterion), options
    if task.opened is None:
        raise InputError(
            f"the study '{task.name}' was loaded from its ledger, which does not hold the task",
            hint="give the task",
        )
    options = options_from(settings, task.options)
    return changed(with_tricks(task.opened, options.tricks), *changes), options


def opened_from(
    given: Any, options: Options, *changes: Change, model: Any = None, data: Any = None, criterion: str = ""
) -> Opened:
    """The requested study, with `changes` made to its study file. Raises InputError.

    `given`: a name or a path as on the command line, or a `Task`. `model` and `data` instead: a function that makes the
    module, and pairs (x, y) or a Dataset, for training alone or in a dictionary of splits.
    """
    if (model is None) != (data is None) or (model is not None and given is not None):
        raise InputError("model and data go together, without a task", hint=TASK_HINT)
    if model is not None:
        given = task_from(model, data, criterion)
    if isinstance(given, str | os.PathLike):
        return open_study(os.fspath(given), options, *changes)
    if isinstance(given, Task):
        return changed(with_tricks(open_task(given, options), options.tricks), *changes)
    raise InputError(f"a task cannot be a {type(given).__name__}", hint=TASK_HINT)


def task_from(model: Callable[[], nn.Module], data: Any, criterion: str = "") -> Task:
    """A Task of a model and its data. `criterion` "": regression if the targets are floating-point numbers."""
    splits = data if isinstance(data, Mapping) and set(data) & set(SPLITS) else {"train": data}
    if strangers := [name for name in splits if name not in SPLITS]:
        raise InputError(f"data has no split '{strangers[0]}'", hint=f"name them {', '.join(SPLITS)}")
    return Task(model, criterion=criterion or _criterion(splits.get("train")), **splits)


def _criterion(train: Any) -> str:
    """The criterion by the type of the targets of a pair (x, y); classification if that is undecided."""
    if not isinstance(train, tuple | list) or len(train) != 2:
        return "classification"
    kind = getattr(train[1], "dtype", None)
    floating = kind.is_floating_point if isinstance(kind, torch.dtype) else getattr(kind, "kind", "") == "f"
    return "regression" if floating else "classification"


def open_task(task: Task, options: Options) -> Opened:
    """The default study of a task that is an object of the caller's program."""
    check(task)
    module = _module(task)
    name = check_name(options.name or task.name or type(module).__name__)
    named_task = task.but(name=name, source="", source_sha256=structure(task, module))
    study = studies.default(f"{PYTHON}{name}")
    return Opened(name, study, named_task, study.to_toml(), given=name, shared=True)


def _module(task: Task) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return task.model()


def structure(task: Task, module: nn.Module) -> str:
    """SHA-256 of a model's definition: its layers, the shapes of its tensors and its source, if available.

    It replaces a task file's hash, so that a ledger detects changes.
    """
    parts = [re.sub(r" at 0x[0-9a-f]+", "", repr(module))]
    parts += [f"{name} {list(value.shape)} {value.dtype}" for name, value in module.state_dict().items()]
    for source in (task.model, *{type(layer) for layer in module.modules()}):
        if getattr(source, "__module__", "").split(".")[0] in ("torch", "ablate"):
            continue
        try:
            parts.append(inspect.getsource(source))  # type: ignore[arg-type]
        except (OSError, TypeError):
            parts.append(getattr(source, "__qualname__", ""))
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()
