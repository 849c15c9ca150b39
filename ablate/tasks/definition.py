"""What a task trains, as two hashes: the structure of its model, and the code that makes and trains it (`tasks/syntax.py`)."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from ablate.tasks.packing import Adapted
from ablate.tasks.syntax import code_of, sha256
from ablate.tasks.task import Task

SETTINGS = ("criterion", "kind", "batch_size", "flips")
"""Settings of a task that change a run; epochs are part of a run's identity, data has a hash of its own."""


def definition(task: Task, module: nn.Module) -> dict[str, str]:
    """`{"structure": …, "code": …}`, SHA-256 in hexadecimal. `module`: one that `task.model` made."""
    parts = [re.sub(r" at 0x[0-9a-f]+", "", repr(module))]
    parts += [f"{name} {list(value.shape)} {value.dtype}" for name, value in module.state_dict().items()]
    parts += [f"{name}={getattr(task, name)!r}" for name in SETTINGS]
    return {"structure": sha256(parts), "code": sha256(code_of(_roots(task, module)))}


def _roots(task: Task, module: nn.Module) -> list[Any]:
    """The functions and classes of the user that training calls."""
    model = task.model.factory if isinstance(task.model, Adapted) else task.model
    metrics = [metric.function for metric in task.metrics.values()]
    layers = {base for layer in module.modules() for base in type(layer).__mro__}
    return [model, task.loss, *metrics, *layers]
