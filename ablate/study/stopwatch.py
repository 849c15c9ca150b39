"""The time of a run, measured on a few steps of groups like those of the rank stage, including the tricks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf, nan
from statistics import fmean, median

import torch

from ablate.lanes.context import TaskContext
from ablate.lanes.device import one_thread
from ablate.lanes.group import structure
from ablate.lanes.memory import is_out_of_memory
from ablate.lanes.trainer import Trainer
from ablate.records.recipe import Recipe
from ablate.records.run import Run

STEPS, SHORT = (3, 10), 0.02
"""Fewest and most timed steps of a group, after one warm-up step; the most where a step takes fewer seconds than this."""
LONG = 0.4
"""Seconds of a warm-up step from which on it is followed by one timed step: such a step is measured well enough."""
BATCH, OTHERS_LANES = 8, 24
"""Recipes that are timed together, and lanes of a group other than the first, at most: a run of a small group takes twice as long."""
START = 2.0
"""Seconds until a search's workers have begun."""
GROUPS = 6
"""Groups of a search that are timed, at most."""
Clock = Callable[[], float]


def seconds_per_run(context: TaskContext, recipes: Sequence[Recipe], lanes: int, epochs: int) -> float:
    """Mean seconds of a run of `recipes` in one process of one thread, with up to `lanes` runs together."""
    seconds = seconds_of_each(context, recipes, lanes, epochs)
    return fmean(seconds[recipe] for recipe in recipes)


def seconds_of_each(
    context: TaskContext, recipes: Sequence[Recipe], lanes: int, epochs: int, until: float = inf
) -> dict[Recipe, float]:
    """Seconds of a run of each of `recipes` in one process of one thread, with up to `lanes` runs together.

    Groups are built, trained for a few steps and evaluated on a part of the validation data: the first of `recipes` by itself, and the others of
    its structure `BATCH` at a time, in their order; of any other structure one group. All recipes of a group take the same. On a CPU it is the
    thread's CPU time, so that other processes do not count. `until`: the `time.perf_counter()` after which no further group is timed:
    recipes of the first one's structure then take what those take that were timed, others are not in the result.
    """
    runs = [Run(context.task.name, recipe, 0, epochs) for recipe in recipes]
    structures = [structure(run, context.catalogue) for run in runs]
    of_first = [run for run, kind in zip(runs, structures, strict=True) if kind == structures[0]][1:]
    groups = [[runs[0]], *(of_first[i : i + BATCH] for i in range(0, len(of_first), BATCH))]
    groups += [
        [run for run, kind in zip(runs, structures, strict=True) if kind == other]
        for other in dict.fromkeys(structures)
        if other != structures[0]
    ]
    most = 1 if context.solo else lanes
    alike = {run.recipe for run in (runs[0], *of_first)}
    seconds: dict[Recipe, float] = {}
    with one_thread():
        for number, members in enumerate(groups):
            if number and time.perf_counter() > until:
                break
            together = most if number == 0 else min(most, OTHERS_LANES)
            each = group_seconds(context, filled(members, together)) / together
            seconds = {run.recipe: each for run in members} | seconds
    usual = fmean(each for recipe, each in seconds.items() if recipe in alike)
    return dict.fromkeys(alike, usual) | seconds


def seconds_per_trial(
    context: TaskContext, groups: Sequence[Sequence[Run]], until: float = inf, most: int = GROUPS
) -> float:
    """Mean seconds of a whole run of a search's trials in one process of one thread; nan without groups. `groups`: those in which the trials would train.

    A trial has many tricks, the costly ones among them: it takes several times as long as a run with one. `most` of the groups are timed, evenly
    spread, and none but the first after the `time.perf_counter()` of `until`.
    """
    chosen = groups[:: max(1, -(-len(groups) // most))]
    seconds, count = 0.0, 0
    with one_thread():
        for runs in chosen:
            if count and time.perf_counter() > until:
                break
            seconds, count = seconds + group_seconds(context, runs), count + len(runs)
    return seconds / count if count else nan


def filled(members: Sequence[Run], lanes: int) -> list[Run]:
    """`lanes` runs: the members in turn, in each round with the next seed."""
    return [replace(members[i % len(members)], seed=i // len(members)) for i in range(lanes)]


def group_seconds(context: TaskContext, runs: Sequence[Run]) -> float:
    """Seconds to build, train and evaluate a group of equal structure, from a few of its steps.

    The first step does not count: it compiles code, which is kept for the groups that follow. A group that does not fit in memory is halved, as `train`
    does; a run that does not ends at once.
    """
    try:
        return _group_seconds(context, runs)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    half = len(runs) // 2
    return sum(group_seconds(context, part) for part in (runs[:half], runs[half:])) if half else 0.0


def _group_seconds(context: TaskContext, runs: Sequence[Run]) -> float:
    clock = clock_of(context)
    started = clock()
    trainer = Trainer(context, runs)
    built = clock() - started
    first = _timed(trainer.step, clock)
    count = 1 if first > LONG else STEPS[0]
    steps = [_timed(trainer.step, clock) for _ in range(count)]
    if max(steps) < SHORT:
        steps += [_timed(trainer.step, clock) for _ in range(STEPS[1] - count)]
    rows = context.task.evaluation.rows(trainer.order.batch_size)
    chunks = -(-len(context.task.validation) // rows)
    evaluation = min(
        _timed(lambda: trainer.predict("validation", views=False, chunks=1), clock) for _ in range(2)
    )
    return built + median(steps) * trainer.total_steps + evaluation * chunks * trainer.epochs


def clock_of(context: TaskContext) -> Clock:
    """The CPU time of this thread, in which a group trains on a CPU; wall time on other devices, and where data are read meanwhile."""
    if context.device.type != "cpu" or "any order" in context.task.lacking:
        return time.perf_counter
    return time.thread_time


def _timed(call: Callable[[], object], clock: Clock) -> float:
    started = clock()
    call()
    return clock() - started
