"""Arguments of the API's functions, checked before anything is done: names, types and ranges, as the command line does."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from math import isfinite
from typing import Any, ParamSpec, TypeVar

from ablate.api.settings import StudySettings, whole
from ablate.records.arguments import check_names, parameters_of
from ablate.records.designs import DESIGN_NAMES
from ablate.records.errors import InputError
from ablate.records.words import alternatives

P = ParamSpec("P")
R = TypeVar("R")
TEXTS = {
    "budget": 'write "10m", "90s", "2h" or "2000runs"',
    "criterion": 'write "classification" or "regression"',
    "design": "write " + alternatives([f'"{name}"' for name in DESIGN_NAMES]),
    "name": 'write name="mine"',
    "kernel": 'write "auto", "compiled", "batched", "vmap" or "loop"',
}
"""Arguments that are text -> what to write."""
WHOLES = {"trials": 1, "epochs": 1, "seed": 0, "seeds": 2, "lanes": 0, "workers": 0}
"""Arguments that are whole numbers -> the smallest."""
PATHS = ("studies", "out")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """A function of the API that raises InputError for a keyword that it does not have, or a value of a wrong type.

    None stands for the default of every argument.
    """
    names = [*parameters_of(function), *StudySettings.__annotations__]

    @wraps(function)
    def call(*args: P.args, **keywords: P.kwargs) -> R:
        check_arguments(keywords, names)
        given: Any = {name: value for name, value in keywords.items() if value is not None}
        return function(*args, **given)

    return call


def check_arguments(given: Mapping[str, Any], names: list[str]) -> None:
    """Raise InputError for an argument that is none of `names`, or that has a value of a wrong type."""
    if strangers := [name for name in given if name not in names]:
        from ablate.tasks.task import Task

        if (of_task := strangers[0]) in parameters_of(Task):
            more = "" if of_task in ("model", "train") else f", {of_task}=…"
            hint = f"give task=ablate.Task(model=…, train=…{more})"
            raise InputError(f"unknown argument '{of_task}': it is one of a task's", hint=hint)
    check_names(given, names)
    for name, value in given.items():
        if value is None:
            continue
        if name in TEXTS and not isinstance(value, str):
            raise InputError(f"{name} must be text, not {value!r}", hint=TEXTS[name])
        if name in WHOLES:
            whole(name, given, WHOLES[name])
        if name in PATHS and not isinstance(value, str | os.PathLike):
            raise InputError(f"{name} must be the path of a folder, not {value!r}")
        if name in ("margin", "memory"):
            _check_number(name, value)


def _check_number(name: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    least = "at least zero" if name == "memory" else "above zero"
    if not number or value < 0 or (value == 0 and name != "memory"):
        raise InputError(f"{name} must be a number {least}, not {value!r}", hint="leave it out for an automatic one")  # fmt: skip
