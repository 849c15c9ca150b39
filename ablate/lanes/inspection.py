"""A task's model as a document: its layers, the inventory, which tricks apply where, and signal scales at initialisation."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ablate.lanes.applicable import scopes
from ablate.lanes.build import build_module
from ablate.lanes.context import TaskContext
from ablate.lanes.signal_scales import signal_scales
from ablate.surgery.layer_table import layer_table


def inspection(context: TaskContext) -> dict[str, Any]:
    """The document, ready for JSON. Takes one training step of a fresh model, which is discarded."""
    task = context.task
    module = build_module(task.model, 0, task.train.x[:2])
    table = layer_table(module, task.train.x[:1], maps=task.kind == "image")
    signal = signal_scales(context)
    layers = []
    for row in table.rows:
        scale = signal.scales.get(row.path)
        layers.append(
            {
                **asdict(row),
                "activation_rms": scale.activation if scale else None,
                "gradient_rms": scale.gradient if scale else None,
                "dead_units": scale.dead if scale else None,
            }
        )
    scope_of = scopes(context)
    catalogue = context.catalogue
    return {
        "task": task.name,
        "input_shape": list(task.input_shape),
        "parameters": table.parameters,
        "multiply_adds": table.multiply_adds,
        "layers": layers,
        "signal": {"examples": signal.examples, "problems": list(signal.problems), "verdict": signal.verdict},
        "held": context.held.to_json(),
        "tricks": {
            name: {"seam": catalogue[name].seam, "why_not": scope.why_not, **scope.to_json()}
            for name, scope in scope_of.items()
        },
    }
