"""A task's model as a document: its layers, the inventory, which tricks apply where, and signal scales at initialisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from torch import nn

from ablate.lanes.applicable import scopes
from ablate.lanes.build import build_module, build_net
from ablate.lanes.context import TaskContext
from ablate.lanes.signal_scales import signal_scales
from ablate.records.errors import InputError, NotApplicable, unknown
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.surgery.layer_table import layer_table


def inspection(context: TaskContext, tricks: Sequence[str] = ()) -> dict[str, Any]:
    """The document, ready for JSON. Takes one training step of a fresh model, which is discarded.

    tricks: of the model seam, with which the layers are shown; scales are those of the model without them. Raises InputError where one changes nothing.
    """
    task = context.task
    module = with_tricks(context, tricks) if tricks else build_module(task.model, 0, task.train.x[:2])
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
        "with": list(tricks),
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


def with_tricks(context: TaskContext, tricks: Sequence[str]) -> nn.Module:
    """The task's model with `tricks` at their defaults. Raises InputError."""
    catalogue, task = context.catalogue, context.task
    for name in tricks:
        if name not in catalogue:
            raise unknown("trick", name, catalogue)
        if catalogue[name].seam != "model":
            raise InputError(
                f"'{name}' does not change the model: it acts on the {catalogue[name].seam}",
                hint="--with takes tricks of the model",
            )
    recipe = Recipe.of(catalogue, dict.fromkeys(tricks, True))
    run = Run(task.name, recipe, 0, 1)
    example, observed = task.train.x[:2], context.observed
    try:
        return build_net(task.model, run, catalogue, example, tricks, observed, together=False).module
    except NotApplicable as error:
        raise InputError(str(error)) from error
