"""Checks of a task's arguments that do not need its data, and the model for inputs or outputs of several tensors."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ablate.records.errors import InputError
from ablate.tasks.custom_loss import CustomLoss
from ablate.tasks.metric_table import Criterion
from ablate.tasks.model_outputs import Adapted, output_form, returns_several
from ablate.tasks.split import Split
from ablate.tasks.user_code import FAILED, tried

TRIED = 2
"""Examples on which a loss is tried."""
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
    model: Callable[[], nn.Module],
    train: Split,
    output: str | int | None,
    criterion: Criterion,
    loss: Callable[[Any, Any], Any] | None = None,
) -> Callable[[], nn.Module]:
    """The model with one tensor as input and one as output: `Adapted` where the user's has several of either, else unchanged. `loss`: a custom one, which is
    tried: it gets the prediction alone, or all outputs if it fails on that and takes these."""
    several = (
        train.packing is not None or output is not None or returns_several(model, train.x[:2])
        if not isinstance(model, Adapted)
        else False
    )
    whole = criterion == "custom" and output is None
    if not several:
        return model
    made = Adapted(model, train.packing, output, whole)
    return replace(made, every=True) if loss is not None and takes_all(made, train, loss) else made


def takes_all(model: Adapted, train: Split, loss: Callable[[Any, Any], Any]) -> bool:
    """Whether a loss fails on the prediction of a model that has other outputs beside it, and takes all of them."""
    x = train.x[:TRIED]
    if tried(model, x) is FAILED or not output_form(model, x).others:
        return False
    return not _takes(loss, model, train) and _takes(loss, replace(model, every=True), train)


def _takes(loss: Callable[[Any, Any], Any], model: Adapted, train: Split) -> bool:
    x, y = train.x[:TRIED], train.y[:TRIED]
    try:
        called = CustomLoss.of(loss, output_form(model, x), train)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of a tensor that is indexed by a name
            called(
                model().eval()(x),
                y if called.batch is None else called.batch.joined(train.in_memory[:TRIED], y),
            )
    except InputError:
        return False
    return True
