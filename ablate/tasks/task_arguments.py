"""Checks of a task's arguments that do not need its data, and the model for inputs or outputs of several tensors."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from ablate.records.errors import InputError
from ablate.tasks.metric_table import Criterion
from ablate.tasks.packing import Adapted, returns_several
from ablate.tasks.split import Split

NAME = re.compile(r"\w[\w.-]*")  # it becomes a folder's name


def checked_model(model: object) -> Callable[[], nn.Module]:
    """`model`, if it can make modules. Raises InputError."""
    if isinstance(model, nn.Module) or not callable(model):
        what = f"a ready {type(model).__name__}" if isinstance(model, nn.Module) else repr(model)
        hint = "every run needs fresh weights: model=lambda: MyNet()"
        raise InputError(f"model must be a function that makes a module, not {what}", hint=hint)
    return model


def checked_name(name: str) -> str:
    """`name`, if it is empty or can name a task. Raises InputError."""
    if name and not NAME.fullmatch(name):
        raise InputError(f"'{name}' cannot name a task", hint="use letters, digits, '-', '_' and '.'")
    return name


def adapted(
    model: Callable[[], nn.Module], train: Split, output: str | int | None, criterion: Criterion
) -> Callable[[], nn.Module]:
    """The model with one tensor as input and one as output: `Adapted` where the user's has several of either, else unchanged."""
    several = (
        train.packing is not None or output is not None or returns_several(model, train.x[:2])
        if not isinstance(model, Adapted)
        else False
    )
    whole = criterion == "custom" and output is None
    return Adapted(model, train.packing, output, whole) if several else model
