"""What a task trains, as two hashes: the structure of its model, and the code that makes and trains it, with the values that this code holds
(`tasks/syntax.py`, `tasks/held_values.py`)."""

from __future__ import annotations

import re
from weakref import WeakKeyDictionary

from torch import nn

from ablate.tasks.held_values import HeldValues, layer_attributes
from ablate.tasks.lazy import materialised
from ablate.tasks.model_outputs import Adapted
from ablate.tasks.syntax import code_of, sha256
from ablate.tasks.task import Task
from ablate.tasks.user_code import repeatable

SETTINGS = ("criterion", "kind", "batch_size", "flips")
"""Settings of a task that change a run; epochs are part of a run's identity, data has a hash of its own."""


def definition(task: Task) -> dict[str, str]:
    """`{"structure": …, "code": …}`, SHA-256 in hexadecimal. Computed once for a task: what its loss counts or keeps while it trains makes no other one.

    An attribute of a layer in which two models made from one seed differ, such as a time or an address, is not compared.
    """
    if task not in _known:
        _known[task] = _defined(task, fresh_model(task), fresh_model(task))
    return dict(_known[task])


def fresh_model(task: Task) -> nn.Module:
    """A model as `task.model` makes it from one seed, whenever it is called. Raises InputError where the size of a lazy layer cannot be found."""
    with repeatable():
        return materialised(task.model(), task.train.x[:2])


_known: WeakKeyDictionary[Task, dict[str, str]] = WeakKeyDictionary()


def _defined(task: Task, module: nn.Module, again: nn.Module) -> dict[str, str]:
    parts = [re.sub(r" at 0x[0-9a-f]+", "", repr(module))]
    parts += [f"{name} {list(value.shape)} {value.dtype}" for name, value in module.state_dict().items()]
    parts += [f"{name}={getattr(task, name)!r}" for name in SETTINGS]
    held, layers = _called(task, module), _attributes(module)
    parts += sorted(set(layers.lines) & set(_attributes(again).lines))
    return {
        "structure": sha256(parts),
        "code": sha256([*code_of([*held.callables, *layers.callables]), *held.lines]),
    }


def _called(task: Task, module: nn.Module) -> HeldValues:
    """What training calls: the model's factory and layers, the loss and the metrics of the user."""
    held = HeldValues()
    for layer in module.modules():
        held.add("layers", type(layer))
    held.add("model", task.model.factory if isinstance(task.model, Adapted) else task.model)
    held.add("loss", task.loss)
    for name, metric in task.metrics.items():
        held.add(f"metric {name}", metric.function)
    return held


def _attributes(module: nn.Module) -> HeldValues:
    held = HeldValues(exact=False)
    for name, value in layer_attributes(module):
        held.add(name, value)
    return held
