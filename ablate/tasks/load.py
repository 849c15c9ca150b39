"""From what a user types, `digits`, `my_task.py:task`, `data.csv:column` or `images/`, to a Task. Works the same in every worker process."""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ablate.records.errors import InputError, unknown
from ablate.records.files import read_input
from ablate.tasks.builtin import builtin
from ablate.tasks.image_folder import image_task
from ablate.tasks.table_file import is_table, table_task
from ablate.tasks.task import Task
from ablate.tasks.task_cards import CARDS
from ablate.tasks.user_code import UserCode, repeatable


def load(name: str) -> Task:
    """The built-in task of that name, the Task that `path/file.py:attribute` holds or returns (`path/file.py`: its only one), one that predicts a column
    of a table, `path/file.csv:column`, or one that classifies images by subfolder, `path/images/`.

    Only the file that was typed is imported, and `task.source_sha256` is the hash of the bytes that ran. Its
    folder is added to the end of `sys.path`, so that it can import its neighbours. Raises InputError: unknown
    name, missing data, no such file or attribute, or a file that raises (file, line and exception are named).
    """
    if is_table(name):
        return table_task(name)
    if name and name not in CARDS and Path(name).is_dir():
        return image_task(name)
    path, attribute = _parted(name)
    if path is None:
        return builtin(name)
    content = read_input(path)
    with repeatable():
        module = _imported(path, content)
        attribute = attribute or _only_task(module, path)
        task = getattr(module, attribute, None)
        if task is None:
            tasks = _tasks_in(module)
            if not tasks:
                hint = f"write {attribute} = ablate.Task(model=…, train=(x, y)) in it"
                raise InputError(f"{path} holds no '{attribute}', and no task under another name", hint=hint)
            raise unknown(f"task in {path}", attribute, tasks)
        if callable(task) and not isinstance(task, Task | type):
            with UserCode(f"{attribute}() of {path}", path):
                task = task()
    if not isinstance(task, Task):
        hint = "it must be an ablate.Task, or a function without arguments that returns one"
        raise InputError(f"'{attribute}' in {path} is of type {type(task).__name__}", hint=hint)
    stem = re.sub(r"[^\w.-]+", "-", path.stem)
    return task.called(
        task.name or (stem if attribute == "task" else f"{stem}-{attribute}"),
        source=name if name.endswith(f":{attribute}") else f"{path}:{attribute}",
        source_sha256=hashlib.sha256(content).hexdigest(),
    )


def _parted(name: str) -> tuple[Path | None, str]:
    """(file, attribute), or (None, "") for the name of a built-in task."""
    if name in CARDS:
        return None, ""
    file, colon, attribute = name.rpartition(":")
    if colon and file.endswith(".py") and attribute.isidentifier():
        return Path(file), attribute
    if name.endswith(".py") or (colon and file.endswith(".py") and not attribute):
        return Path(name.removesuffix(":")), ""
    error = unknown("task", name, CARDS)
    raise InputError(
        error.message,
        hint=f"{error.hint}; your own task is named as my_task.py:task, a table as data.csv:COLUMN",
    )


def _tasks_in(module: ModuleType) -> list[str]:
    """The names of a module's tasks."""
    return [name for name, value in vars(module).items() if isinstance(value, Task)]


def _only_task(module: ModuleType, path: Path) -> str:
    """The name of the task of a file that was typed without one: `task`, or the only one. Raises InputError if there are several."""
    tasks = _tasks_in(module)
    if "task" in vars(module) or not tasks:
        return "task"
    if len(tasks) > 1:
        names = " or ".join(f"{path}:{name}" for name in tasks)
        raise InputError(f"'{path}' holds several tasks", hint=f"write {names}")
    return tasks[0]


def _imported(path: Path, content: bytes) -> ModuleType:
    """Run the file as a fresh module. It stays in `sys.modules`, as dataclasses and pickling require."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"ablate_task_{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}_{digest}"
    spec = importlib.util.spec_from_loader(name, _Source(path, content), origin=str(path))
    assert spec is not None
    assert spec.loader is not None
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    sys.modules[name] = module
    loaded = False
    try:
        with UserCode(f"the task file {path}", path):
            spec.loader.exec_module(module)
        loaded = True
    finally:
        if not loaded:
            del sys.modules[name]
    return module


class _Source(importlib.abc.SourceLoader):
    """Runs exactly the bytes that were hashed, and writes no compiled copy next to the user's file."""

    def __init__(self, path: Path, content: bytes) -> None:
        self.path, self.content = path, content

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def get_data(self, path: Any) -> bytes:
        return self.content
