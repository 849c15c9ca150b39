"""Steps of a group of lanes: the same recipe (SGD with momentum) at as many learning rates as lanes."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.cuda_graph import prepare
from ablate.lanes.device import one_thread
from ablate.lanes.trainer import Trainer
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from bench.solo import steps_on, timed


def recipe_of(rate: float, *, bf16: bool) -> Recipe:
    settings: dict[str, Any] = {"optimizer": {"name": "momentum", "lr": rate, "momentum": 0.9}}
    return Recipe.of(registry(), settings | ({"amp": {"dtype": "bfloat16"}} if bf16 else {}))


def trainer_of(context: TaskContext, lanes: int, *, bf16: bool) -> Trainer:
    recipes = [recipe_of(10 ** (-2.5 + lane / lanes), bf16=bf16) for lane in range(lanes)]
    return Trainer(context, [Run(context.task.name, recipe, seed, 1) for seed, recipe in enumerate(recipes)])


def lanes_alone(context: TaskContext, lanes: int, *, bf16: bool) -> float:
    """K lanes in this process, of one thread on a CPU."""
    with one_thread() if context.device.type == "cpu" else nullcontext():
        trainer = trainer_of(context, lanes, bf16=bf16)
        prepare(trainer)
        steps = max(4, steps_on(context.device) // int(math.sqrt(lanes)))
        return timed(trainer.step, context.device, lanes, steps)
