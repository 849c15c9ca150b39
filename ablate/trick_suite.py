"""What the conformance suite is made of: small tasks, runs on them, settings that act, and the comparison of lanes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablate.catalogue.registry import Registry, registry
from ablate.lanes.applicable import applicable, narrowed, scopes
from ablate.lanes.context import TaskContext
from ablate.lanes.trainer import Trainer
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.records.trick import OPTIMIZER, Trick, Value
from ablate.tasks.tiny_tasks import holding_tasks, small_tasks

STEPS = 20
BASELINE = {"momentum": {"lr": 0.03, "momentum": 0.9}}


@dataclass(frozen=True)
class Suite:
    """A catalogue and the contexts of the small tasks. `holding`: those whose models have what some tricks remove."""

    catalogue: Registry
    contexts: Mapping[str, TaskContext]
    holding: Mapping[str, TaskContext]

    def where(self, trick: str) -> list[TaskContext]:
        """The contexts to which the trick applies; those of `holding` only if no other does."""
        for contexts in (self.contexts, self.holding):
            applicable_contexts = [
                context for context in contexts.values() if not applicable(context, [trick])[trick]
            ]
            if applicable_contexts:
                return applicable_contexts
        return []

    def run(self, context: TaskContext, tricks: Mapping[str, Any], seed: int = 0) -> Run:
        """A run with the tricks on top of SGD with momentum, or of the optimizer among them."""
        fills = {self.catalogue[name].slot for name in tricks}
        base = {} if OPTIMIZER in fills else BASELINE
        return Run(
            context.task.name, Recipe.of(self.catalogue, {**base, **tricks}), seed, context.task.epochs
        )


@cache
def suite(*files: Path) -> Suite:
    """The small tasks, and the catalogue with the tricks in `files`."""
    catalogue = registry().plus(files) if files else registry()
    contexts, holding = (
        {name: _narrowed(context.with_catalogue(catalogue)) for name, context in probed.items()}
        for probed in _probed()
    )
    return Suite(catalogue, contexts, holding)


@cache
def _probed() -> list[dict[str, TaskContext]]:
    """The contexts of the small tasks and of those that hold something; what a probe finds does not depend on the catalogue."""
    return [
        {name: TaskContext.of(task, registry(), torch.device("cpu")) for name, task in tasks.items()}
        for tasks in (small_tasks(), holding_tasks())
    ]


def _narrowed(context: TaskContext) -> TaskContext:
    return narrowed(context, scopes(context))


def acting(trick: Trick) -> dict[str, dict[str, Value]]:
    """The trick with settings that act also on the small tasks: the strongest of each number's range."""
    settings = dict(trick.defaults)
    for parameter in trick.parameters:
        if parameter.is_number and parameter.neutral is not None and parameter.lane:
            far = parameter.high if parameter.neutral == parameter.low else parameter.low
            assert far is not None
            near = float(parameter.default)
            settings[parameter.name] = int(far) if parameter.is_integer else (far + near) / 2
    return {trick.name: settings}


def variants(trick: Trick, count: int = 3) -> list[dict[str, dict[str, Value]]]:
    """`count` settings that differ in all that lanes may differ in."""
    made = []
    for i in range(count):
        settings = dict(trick.defaults)
        for parameter in trick.parameters:
            if not parameter.lane:
                continue
            if parameter.choices:
                settings[parameter.name] = parameter.choices[i % len(parameter.choices)]
            elif isinstance(parameter.default, bool):
                settings[parameter.name] = bool(i % 2)
            elif i and parameter.low is not None and parameter.high is not None:
                mean = (
                    float(parameter.default) * (3 - i) + max(parameter.low, min(parameter.high, 1.0)) * i
                ) / 3
                settings[parameter.name] = max(1, round(mean)) if parameter.is_integer else mean
        made.append({trick.name: settings})
    return made


def advance(
    context: TaskContext, runs: list[Run], steps: int = STEPS, trainer: Trainer | None = None
) -> Trainer:
    """A trainer of `runs` after `steps` further steps."""
    trainer = trainer or Trainer(context, runs)
    for _ in range(steps):
        trainer.step()
    return trainer


def lane_state(trainer: Trainer, lane: int) -> dict[str, Tensor]:
    """The parameters that the lane's model uses, by common name."""
    names = trainer.forward.own_names(lane).values()
    return {name: trainer.weights[name][lane] for name in trainer.weights if name in names}


def assert_same_lane(one: Trainer, i: int, other: Trainer, j: int, what: str) -> None:
    """Equal weights (of what both have) and equal outputs, bit for bit."""
    first, second = lane_state(one, i), lane_state(other, j)
    for name in first.keys() & second.keys():
        assert torch.equal(first[name], second[name]), f"{what}: {name} differs"
    assert torch.equal(one.predict("validation")[i], other.predict("validation")[j]), (
        f"{what}: outputs differ"
    )
