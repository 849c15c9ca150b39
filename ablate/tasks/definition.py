"""What a task trains, as two hashes: the structure of its model, and the code that makes and trains it, with the values that this code holds
(`tasks/syntax.py`, `tasks/held_values.py`)."""

from __future__ import annotations

import re
from weakref import WeakKeyDictionary

from torch import nn

from ablate.tasks.held_values import HeldValues, layer_attributes
from ablate.tasks.packing import Adapted
from ablate.tasks.syntax import code_of, sha256
from ablate.tasks.task import Task

SETTINGS = ("criterion", "kind", "batch_size", "flips")
"""Settings of a task that change a run; epochs are part of a run's identity, data has a hash of its own."""


def definition(task: Task, module: nn.Module, again: nn.Module) -> dict[str, str]:
    """`{"structure": …, "code": …}`, SHA-256 in hexadecimal. `module` and `again`: made by `task.model` from one seed.

    An attribute of a layer in which they differ, such as a time or an address, is not compared.
    """
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
    """What training calls: the model's factory and layers, the loss and the metrics of the user. Of one task always the same, whatever they count
    or keep while it trains."""
    if task in _held:
        return _held[task]
    held = _held[task] = HeldValues()
    for layer in module.modules():
        held.add("layers", type(layer))
    held.add("model", task.model.factory if isinstance(task.model, Adapted) else task.model)
    held.add("loss", task.loss)
    for name, metric in task.metrics.items():
        held.add(f"metric {name}", metric.function)
    return held


_held: WeakKeyDictionary[Task, HeldValues] = WeakKeyDictionary()


def _attributes(module: nn.Module) -> HeldValues:
    held = HeldValues(exact=False)
    for name, value in layer_attributes(module):
        held.add(name, value)
    return held
