"""A grid of learning rate × weight decay, trained as whole runs, and the choice of a cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan, sqrt
from typing import Any

from ablate.protocol.explore import rates_around, run_of
from ablate.protocol.prior import Blind
from ablate.protocol.steps import Finding, Ground
from ablate.records.run import Outcome, Result
from ablate.tasks.task import Task

LOSS = "validation/loss"


@dataclass(frozen=True, slots=True)
class Cell:
    """A rate, a decay, and what came of them."""

    rate: float
    decay: float
    result: Result

    def value(self, metric: str) -> float:
        """The metric; NaN where the run did not complete."""
        if self.result.outcome is not Outcome.COMPLETE:
            return nan
        return self.result.metrics.get(metric, nan)


def train_grid(
    ground: Ground, rates: Sequence[float], decays: Sequence[float], epochs: int, arm: str
) -> list[Cell]:
    """Every rate with every decay under one seed, so that cells differ by nothing else."""
    pairs = [(rate, decay) for rate in rates for decay in decays]
    runs = [run_of(ground.bench, rate, decay, ground.seed, epochs) for rate, decay in pairs]
    results = ground.train(runs, arm)
    return [Cell(rate, decay, result) for (rate, decay), result in zip(pairs, results, strict=True)]


def tolerance(task: Task, value: float) -> float:
    """Differences of the metric that are no reason to prefer a cell: one binomial standard error of an accuracy."""
    if task.metric != "validation/accuracy":
        return 0.0
    return sqrt(max(value * (1 - value), 0.0) / len(task.validation))


def best_cell(cells: Sequence[Cell], task: Task) -> Cell | None:
    """The cell with the lowest validation loss among those whose metric is as good as the best's.

    As good: within `tolerance`, since a share of a few hundred examples is coarse. None where none completed.
    """
    sign = 1.0 if task.direction == "higher" else -1.0
    sound = [cell for cell in cells if isfinite(cell.value(task.metric)) and isfinite(cell.value(LOSS))]
    if not sound:
        return None
    top = max(sign * cell.value(task.metric) for cell in sound)
    slack = tolerance(task, abs(top))
    close = [cell for cell in sound if sign * cell.value(task.metric) >= top - slack]
    return min(close, key=lambda cell: (cell.value(LOSS), cell.rate, -cell.decay))


def edge(cells: Sequence[Cell], best: Cell) -> int:
    """-1 or +1 where the best rate is the lowest or the highest of all that were tried; else 0."""
    rates = sorted({cell.rate for cell in cells})
    if len(rates) > 1 and best.rate == rates[0]:
        return -1
    if len(rates) > 1 and best.rate == rates[-1]:
        return 1
    return 0


def widened(
    ground: Ground, cells: list[Cell], decays: Sequence[float], epochs: int, arm: str, per_decade: float
) -> tuple[list[Cell], Cell | None, list[Finding]]:
    """The grid, its best cell, and what was done at its edge.

    Where the best rate is the outermost, two rates beyond it are trained, once; below the lowest where nothing
    completed. If the best is still the outermost, that is a warning.
    """
    task = ground.bench.task
    best = best_cell(cells, task)
    side = -1 if best is None else edge(cells, best)
    if not side:
        return cells, best, []
    rates = sorted({cell.rate for cell in cells})
    outer = rates[0] if side < 0 else rates[-1]
    around = rates_around(outer, 5, per_decade)
    beyond = around[:2] if side < 0 else around[-2:]
    why = "nothing completed" if best is None else f"the best rate, {outer:g}, was the outermost"
    cells = [*cells, *train_grid(ground, beyond, decays, epochs, f"{arm}, widened")]
    best = best_cell(cells, task)
    findings = [Finding("widened", "note", f"{why}: {beyond[0]:g} and {beyond[1]:g} were added", arm)]
    if best is not None and edge(cells, best):
        findings.append(
            Finding(
                "edge", "warn", f"the best rate, {best.rate:g}, is the outermost also after widening",
                f"rate {best.rate:g}", "runs are short, or the scale of inputs, targets or outputs is unusual",
            )
        )  # fmt: skip
    return cells, best, findings


def figures(cells: Sequence[Cell], task: Task) -> dict[str, Any]:
    names = [LOSS, "validation/accuracy"] if task.classes is not None else [LOSS]
    names += [task.metric] if task.metric not in names else []
    return {
        "cells": [
            {
                "learning_rate": cell.rate,
                "weight_decay": cell.decay,
                **{name: cell.value(name) for name in names},
                "outcome": str(cell.result.outcome),
            }
            for cell in sorted(cells, key=lambda cell: (cell.rate, cell.decay))
        ]
    }


def none_completed(cells: Sequence[Cell]) -> Finding:
    """The finding of a grid of which nothing is left."""
    outcomes = sorted({str(cell.result.outcome) for cell in cells})
    notes = next((cell.result.note for cell in cells if cell.result.note), "")
    rates = sorted({cell.rate for cell in cells})
    return Finding(
        "no-cell-completed", "fail",
        f"none of {len(cells)} runs completed ({', '.join(outcomes)}{': ' + notes if notes else ''})",
        f"rates {rates[0]:g} to {rates[-1]:g}", "the loss drops at first and then diverges: clip gradients, or warm up",
    )  # fmt: skip


def unsound_neighbour(cells: Sequence[Cell], best: Cell, blind: Blind) -> list[Finding]:
    """A warning where the next higher rate diverged, or fell back to what needs no inputs."""
    higher = sorted({cell.rate for cell in cells if cell.rate > best.rate})
    if not higher:
        return []
    beside = [cell for cell in cells if cell.rate == higher[0]]
    diverged = [cell for cell in beside if cell.result.outcome is Outcome.DIVERGED]
    collapsed = [
        cell
        for cell in beside
        if isfinite(cell.value(LOSS))
        and not blind.beaten(cell.value(LOSS), cell.value("validation/accuracy"))
    ]
    if not diverged and not collapsed:
        return []
    ends = [f"{len(diverged)} diverge"] * bool(diverged) + [f"{len(collapsed)} learn nothing"] * bool(
        collapsed
    )
    return [
        Finding(
            "unsound-neighbour", "warn",
            f"beside the best rate, {best.rate:g}, stands {higher[0]:g}, where of {len(beside)} runs {' and '.join(ends)}",
            f"rate {higher[0]:g}", "a step lower is safer where seeds or tricks change; warm-up or clipping gives room",
        )
    ]  # fmt: skip
