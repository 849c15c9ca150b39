"""The time of a run, measured on a few steps of groups like those of the rank stage, including the tricks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

from ablate.lanes.context import TaskContext
from ablate.lanes.device import one_thread
from ablate.lanes.group import structure
from ablate.lanes.trainer import Trainer
from ablate.records.recipe import Recipe
from ablate.records.run import Run

STEPS = 3
"""Timed steps of a group, after one warm-up step."""


def seconds_per_run(context: TaskContext, recipes: Sequence[Recipe], lanes: int, epochs: int) -> float:
    """Mean seconds of a run of `recipes` in one process of one thread, with up to `lanes` runs together.

    One full group of each structure is built, trained for a few steps and evaluated once; a structure counts by its share
    of `recipes`.
    """
    by_structure: dict[str, list[Run]] = {}
    for recipe in recipes:
        run = Run(context.task.name, recipe, 0, epochs)
        by_structure.setdefault(structure(run, context.catalogue), []).append(run)
    most = 1 if context.solo else lanes
    seconds = 0.0
    with one_thread():
        for members in by_structure.values():
            seconds += len(members) * group_seconds(context, filled(members, most)) / most
    return seconds / len(recipes)


def filled(members: Sequence[Run], lanes: int) -> list[Run]:
    """`lanes` runs: the members in turn, in each round with the next seed."""
    return [replace(members[i % len(members)], seed=i // len(members)) for i in range(lanes)]


def group_seconds(context: TaskContext, runs: Sequence[Run]) -> float:
    """Seconds to build, train and evaluate a group of equal structure, from a few of its steps."""
    started = time.perf_counter()
    trainer = Trainer(context, runs)
    trainer.step()
    built = time.perf_counter() - started
    steps = [_timed(trainer.step) for _ in range(STEPS)]
    evaluation = _timed(lambda: trainer.predict("validation", views=False))
    return built + median(steps) * trainer.total_steps + evaluation * trainer.epochs


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
