"""A grid of learning rate × weight decay, trained as whole runs and widened once if it is too narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ablate.protocol.prior import NoInputBaseline
from ablate.protocol.selection import LOSS, Cell, best_cell, edge
from ablate.protocol.short_runs import rates_around, run_of
from ablate.protocol.steps import Finding, Setup
from ablate.tasks.task import Task

COUNT = 5


@dataclass(frozen=True, slots=True)
class Grid:
    """`COUNT` rates around `center`, `per_decade` per decade, with each of `decays`; `arm`: its name in the ledger."""

    arm: str
    center: float
    per_decade: float
    decays: tuple[float, ...]
    epochs: int


def search(
    setup: Setup, grid: Grid, no_input: NoInputBaseline
) -> tuple[list[Cell], Cell | None, list[Finding]]:
    """The cells, the best of them, and findings about the edge of the grid.

    If only the outermost rate is as good as the best, two rates beyond it are trained, once; below the lowest rate if
    no run completed. If the best rate is still the outermost, that is a warning.
    """
    task = setup.context.task
    cells = train_cells(setup, grid, rates_around(grid.center, COUNT, grid.per_decade), grid.arm)
    best = best_cell(cells, task, no_input)
    side = -1 if best is None else edge(cells, task)
    if not side:
        return cells, best, []
    rates = [cell.rate for cell in cells]
    outer = min(rates) if side < 0 else max(rates)
    around = rates_around(outer, 5, grid.per_decade)
    beyond = around[:2] if side < 0 else around[-2:]
    why = "nothing completed" if best is None else f"the best rate, {outer:g}, was the outermost"
    cells += train_cells(setup, grid, beyond, f"{grid.arm}, widened")
    best = best_cell(cells, task, no_input)
    findings = [Finding("widened", "note", f"{why}: {beyond[0]:g} and {beyond[1]:g} were added", grid.arm)]
    if best is not None and edge(cells, task):
        findings.append(
            Finding(
                "edge", "warn", f"the best rate, {best.rate:g}, is still the outermost after widening",
                f"rate {best.rate:g}", "runs are short, or the scale of inputs, targets or outputs is unusual",
            )
        )  # fmt: skip
    return cells, best, findings


def train_cells(setup: Setup, grid: Grid, rates: Sequence[float], arm: str) -> list[Cell]:
    """Every rate with every decay under one seed, so that cells differ in nothing else."""
    pairs = [(rate, decay) for rate in rates for decay in grid.decays]
    runs = [run_of(setup.context, rate, decay, setup.seed, grid.epochs) for rate, decay in pairs]
    results = setup.train(runs, arm)
    return [Cell(rate, decay, result) for (rate, decay), result in zip(pairs, results, strict=True)]


def summarise(cells: Sequence[Cell], best: Cell | None, task: Task, epochs: int) -> dict[str, Any]:
    """The figures of the step: `cells`, one per run, with losses and metrics; and the best cell."""
    names = dict.fromkeys((LOSS, *((f"validation/{task.accuracy}",) if task.accuracy else ()), task.metric))
    rows = [
        {
            "learning_rate": cell.rate,
            "weight_decay": cell.decay,
            **{name: cell.value(name) for name in names},
            "outcome": str(cell.result.outcome),
        }
        for cell in sorted(cells, key=lambda cell: (cell.rate, cell.decay))
    ]
    best_settings = {} if best is None else {"learning_rate": best.rate, "weight_decay": best.decay}
    return {"cells": rows, "epochs": epochs, **best_settings}


def none_completed(cells: Sequence[Cell]) -> Finding:
    """The finding for a grid in which no run completed."""
    outcomes = ", ".join(sorted({str(cell.result.outcome) for cell in cells}))
    note = next((f": {cell.result.note}" for cell in cells if cell.result.note), "")
    rates = [cell.rate for cell in cells]
    return Finding(
        "no-run-completed", "fail", f"none of {len(cells)} runs completed ({outcomes}{note})",
        f"rates {min(rates):g} to {max(rates):g}",
        "the loss drops at first and then diverges: clip gradients or use warmup",
    )  # fmt: skip
