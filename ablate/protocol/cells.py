"""Cells of a grid: a learning rate, a weight decay, and the runs trained with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any

from ablate.protocol.steps import Finding, Setup
from ablate.records.run import Outcome, Result
from ablate.records.words import noun
from ablate.tasks.task import Task

LOSS = "validation/loss"


@dataclass(frozen=True, slots=True)
class Cell:
    """A rate, a decay, and the results of its runs, one per seed; `result` is the first seed's."""

    rate: float
    decay: float
    result: Result
    repeats: tuple[Result, ...] = ()

    @property
    def results(self) -> tuple[Result, ...]:
        """The results of all seeds."""
        return (self.result, *self.repeats)

    def value(self, metric: str) -> float:
        """The mean of the metric over seeds; NaN if a run did not complete."""
        if any(result.outcome is not Outcome.COMPLETE for result in self.results):
            return nan
        return sum(result.metrics.get(metric, nan) for result in self.results) / len(self.results)

    @property
    def lowest_loss(self) -> float:
        """The lowest validation loss after any epoch of the first seed's run."""
        losses = self.result.curves.get(LOSS) or (self.result.metrics.get(LOSS, nan),)
        return min((loss for loss in losses if loss == loss), default=nan)

    def with_repeats(self, results: Sequence[Result]) -> Cell:
        """This cell with the results of further seeds."""
        return replace(self, repeats=(*self.repeats, *results))


def train_cells(
    setup: Setup,
    pairs: Sequence[tuple[float, float | None]],
    seeds: Sequence[int],
    epochs: int,
    arm: str,
) -> list[Cell]:
    """Train every (rate, decay) with every seed. A decay of None is the baseline's own."""
    runs = [setup.run(rate, decay, seed, epochs) for rate, decay in pairs for seed in seeds]
    results = setup.train(runs, arm) if runs else []
    baseline_decay = setup.baseline.decay
    return [
        Cell(rate, baseline_decay if decay is None else decay, *_first_and_rest(results[i * len(seeds) : (i + 1) * len(seeds)]))
        for i, (rate, decay) in enumerate(pairs)
    ]  # fmt: skip


def _first_and_rest(results: Sequence[Result]) -> tuple[Result, tuple[Result, ...]]:
    return results[0], tuple(results[1:])


def summarise(cells: Sequence[Cell], best: Cell | None, task: Task, epochs: int) -> dict[str, Any]:
    """The figures of a step: `cells` with losses and metrics (means over `seeds` runs), and the best cell."""
    names = dict.fromkeys((LOSS, *((f"validation/{task.accuracy}",) if task.accuracy else ()), task.metric))
    rows = [
        {
            "learning_rate": cell.rate,
            "weight_decay": cell.decay,
            **{name: cell.value(name) for name in names},
            "outcome": str(cell.result.outcome),
            "seeds": len(cell.results),
        }
        for cell in sorted(cells, key=lambda cell: (cell.rate, cell.decay))
    ]
    best_settings = {} if best is None else {"learning_rate": best.rate, "weight_decay": best.decay}
    return {"cells": rows, "epochs": epochs, **best_settings}


def none_completed(cells: Sequence[Cell], metric: str) -> Finding:
    """The finding for a grid in which no run completed, or none has a finite `metric`."""
    if ended := sum(cell.result.outcome is Outcome.COMPLETE for cell in cells):
        return Finding(
            "no-finite-metric", "fail", f"{metric} is not finite in {ended} {noun(ended, 'run')} that trained to the end, nor in any other",
            metric, "look at the metric: it must return a finite number for outputs of a trained model, too",
        )  # fmt: skip
    outcomes = ", ".join(sorted({str(cell.result.outcome) for cell in cells}))
    note = next((f": {cell.result.note}" for cell in cells if cell.result.note), "")
    rates = [cell.rate for cell in cells]
    none = "the only run did not complete" if len(cells) == 1 else f"none of {len(cells)} runs completed"
    return Finding(
        "no-run-completed", "fail", f"{none} ({outcomes}{note})",
        f"rates {min(rates):g} to {max(rates):g}",
        "the loss drops at first and then diverges: clip gradients or use warmup",
    )  # fmt: skip
