"""The grids of learning rates that `python -m bench.rates` judges by, trained with seeds that no method sees.

Half-decades over the five decades of lr-find's own grid. They are kept in bench/results/rate_grids.csv: a row a rate, a column a seed.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from math import inf
from pathlib import Path

import torch

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.train import train
from ablate.protocol.baseline import Baseline
from ablate.protocol.cells import LOSS
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run
from bench.rate_tasks import TASKS

GRIDS = Path(__file__).parent / "results" / "rate_grids.csv"
FIRST_SEED, SEEDS = 100, 3
"""Seeds of the grids; the methods use seed 0 and those after it."""
LANES, DIGITS = 64, 6
Grid = Mapping[float, tuple[float, ...]]
"""Rate -> the score of each seed."""


def pair_of(task: str, optimizer: str) -> tuple[TaskContext, Baseline]:
    catalogue = registry()
    context = TaskContext.of(TASKS[task]().but(name=task), catalogue, torch.device("cpu"))
    return context, Baseline(Recipe.of(catalogue, {optimizer: {}}), catalogue)


def scores(context: TaskContext, baseline: Baseline, rates: list[float], seeds: range) -> Grid:
    """The task's metric for each rate and seed; regression: the loss. A run that diverges has 0, or an infinite loss."""
    task = context.task
    higher = task.direction == "higher"
    runs = [Run(task.name, baseline.at(rate), seed, task.epochs) for rate in rates for seed in seeds]
    results = train(context, runs, lanes=LANES)

    def value(result: Result) -> float:
        if result.outcome is not Outcome.COMPLETE:
            return 0.0 if higher else inf
        return float(f"{result.metrics[task.metric if higher else LOSS]:.{DIGITS}g}")

    count = len(seeds)
    return {
        rate: tuple(map(value, results[i * count : (i + 1) * count]))
        for i, rate in enumerate(rates)
    }  # fmt: skip


def grid_of(context: TaskContext, baseline: Baseline) -> Grid:
    """The half-decades of lr-find's own grid, with every seed."""
    seeds = range(FIRST_SEED, FIRST_SEED + SEEDS)
    return scores(context, baseline, baseline.rates(), seeds)


def read(path: Path = GRIDS) -> dict[tuple[str, str], Grid]:
    grids: dict[tuple[str, str], dict[float, tuple[float, ...]]] = {}
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            for task, optimizer, rate, *seeds in list(csv.reader(file))[1:]:
                grids.setdefault((task, optimizer), {})[float(rate)] = tuple(map(float, seeds))
    return dict(grids)


def write(grids: Mapping[tuple[str, str], Grid], path: Path = GRIDS) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["task", "optimizer", "rate", *range(FIRST_SEED, FIRST_SEED + SEEDS)])
        for pair, grid in grids.items():
            writer.writerows([*pair, rate, *seeds] for rate, seeds in grid.items())
