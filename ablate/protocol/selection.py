"""Selecting a cell of a grid: as good as the best, not next to diverging rates, then the lowest loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan, sqrt

import numpy as np

from ablate.protocol.curves import still_falling
from ablate.protocol.prior import NoInputBaseline
from ablate.protocol.steps import Finding, Level
from ablate.records.run import Outcome, Result
from ablate.tasks.task import Task

LOSS, ACCURACY = "validation/loss", "validation/accuracy"
SHARES = (ACCURACY, "validation/balanced_accuracy")
"""Metrics that are, at least approximately, proportions of the validation examples."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A rate, a decay, and the result of the run."""

    rate: float
    decay: float
    result: Result

    def value(self, metric: str) -> float:
        """The metric; NaN if the run did not complete."""
        if self.result.outcome is not Outcome.COMPLETE:
            return nan
        return self.result.metrics.get(metric, nan)


def tolerance(cells: Sequence[Cell], task: Task) -> float:
    """Differences of the metric below which cells are considered equal.

    One binomial standard error of the best proportion, because a proportion of a few hundred examples is coarse; 0 for
    other metrics.
    """
    if task.metric not in SHARES:
        return 0.0
    top = max((cell.value(task.metric) for cell in cells if isfinite(cell.value(task.metric))), default=0.0)
    return sqrt(top * (1 - top) / len(task.validation))


def near_best(cells: Sequence[Cell], task: Task) -> list[Cell]:
    """The cells whose metric is within `tolerance` of the best; empty if none completed."""
    sign = 1.0 if task.direction == "higher" else -1.0
    sound = [cell for cell in cells if isfinite(cell.value(task.metric)) and isfinite(cell.value(LOSS))]
    top = max((sign * cell.value(task.metric) for cell in sound), default=0.0)
    return [cell for cell in sound if sign * cell.value(task.metric) >= top - tolerance(cells, task)]


def broken(cell: Cell, no_input: NoInputBaseline) -> bool:
    """Whether the run diverged or is no better than a model without inputs."""
    if cell.result.outcome is Outcome.DIVERGED:
        return True
    return isfinite(cell.value(LOSS)) and not no_input.beaten(cell.value(LOSS), cell.value(ACCURACY))


def next_rate(cells: Sequence[Cell], rate: float) -> list[Cell]:
    """The cells of the next higher rate."""
    higher = min((cell.rate for cell in cells if cell.rate > rate), default=nan)
    return [cell for cell in cells if cell.rate == higher]


def best_cell(cells: Sequence[Cell], task: Task, no_input: NoInputBaseline) -> Cell | None:
    """The selected cell; None if none completed.

    Among the cells that are as good as the best, those without a broken run at the next higher rate are preferred, because
    the rate must also work with other seeds and tricks; of these the one with the lowest validation loss.
    """
    near = near_best(cells, task)
    safe = [
        cell for cell in near if not any(broken(other, no_input) for other in next_rate(cells, cell.rate))
    ]
    return min(safe or near, key=lambda cell: (cell.value(LOSS), cell.rate, -cell.decay), default=None)


def edge(cells: Sequence[Cell], task: Task) -> int:
    """-1 or +1 if only the lowest or only the highest rate is as good as the best; else 0.

    A flat optimum that reaches the edge does not require a wider grid.
    """
    rates = {cell.rate for cell in cells}
    near = {cell.rate for cell in near_best(cells, task)}
    if len(rates) == 1:
        return 0
    return -1 if near == {min(rates)} else 1 if near == {max(rates)} else 0


def cliff(cells: Sequence[Cell], best: Cell, no_input: NoInputBaseline, level: Level) -> list[Finding]:
    """A finding if runs at the next higher rate are broken."""
    neighbours = next_rate(cells, best.rate)
    lost = [cell for cell in neighbours if broken(cell, no_input)]
    if not lost:
        return []
    diverged = sum(cell.result.outcome is Outcome.DIVERGED for cell in lost)
    ends = [f"{diverged} diverge"] * (diverged > 0)
    ends += [f"{len(lost) - diverged} learn nothing"] * (len(lost) > diverged)
    return [
        Finding(
            "unsound-neighbour", level,
            f"at {neighbours[0].rate:g}, next to the best rate {best.rate:g}, {' and '.join(ends)} of {len(neighbours)} runs",
            f"rate {neighbours[0].rate:g}",
            "a lower rate is safer for other seeds or tricks; warmup or clipping allow higher rates",
        )
    ]  # fmt: skip


def learned(
    cells: Sequence[Cell], best: Cell, no_input: NoInputBaseline, *, lenient: bool = False
) -> list[Finding]:
    """A finding if no cell predicts validation data better than a model without inputs.

    `lenient`: only a warning if the best cell's loss was still falling.
    """
    if any(no_input.beaten(cell.value(LOSS), cell.value(ACCURACY)) for cell in cells):
        return []
    lowest = min(cell.value(LOSS) for cell in cells if isfinite(cell.value(LOSS)))
    message = f"no run predicts validation data better than a model without inputs: loss {lowest:.3g} and {no_input.loss:.3g}"
    if lenient and still_falling(np.asarray(best.result.curves[LOSS])):
        advice = "the fine grid trains longer; standardise inputs and targets to learn faster"
        return [
            Finding(
                "too-short-to-judge",
                "warn",
                f"{message}; but the loss is still falling",
                "validation data",
                advice,
            )
        ]
    return [
        Finding(
            "no-better-than-a-guess", "fail", message, "validation data",
            "check that labels and inputs match, and that both splits were prepared in the same way",
        )
    ]  # fmt: skip


def flat(cells: Sequence[Cell], task: Task) -> list[Finding]:
    """A note on how flat the optimum is, if several rates are as good as the best."""
    near, slack = near_best(cells, task), tolerance(cells, task)
    rates = [cell.rate for cell in near]
    if len(set(rates)) < 2:
        return []
    within = f"within one standard error ({slack:.2g}) of the best" if slack else "as good as the best"
    return [
        Finding(
            "flat-optimum", "note",
            f"{len(near)} of {len(cells)} cells are {within}; "
            "among them, distance from diverging rates and then the lowest validation loss decided",
            f"rates {min(rates):g} to {max(rates):g}",
        )
    ]  # fmt: skip
