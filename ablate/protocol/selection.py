"""Selecting a cell of a grid: as good as the best, not next to diverging rates, then the lowest loss."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nan

from ablate.protocol.cells import LOSS, Cell
from ablate.protocol.guess import guess_loss
from ablate.protocol.standard_error import standard_error
from ablate.protocol.steps import Finding, Level
from ablate.records.run import Outcome
from ablate.records.words import noun, verb
from ablate.tasks.task import Task

EQUAL = 0.5
"""Cells within this many standard errors of the best are equal. All are judged on the same examples, so that the
error of a difference is smaller than that of either value."""
FEW_STEPS = 100
"""Steps of a run below which a network that learns nothing may simply need more of them."""
PREPARED = "check that labels and inputs match, and that both splits were prepared in the same way"
"""What to do where nothing is better than a guess."""
CLOSE = 1.5
"""Cells within this many standard errors of the best are tried with more seeds."""
FEWEST = 4
"""Rates that must have been tried to call the range of usable ones narrow."""


def tolerance(cells: Sequence[Cell], task: Task) -> float:
    """Differences of the metric below which cells are considered equal: `EQUAL` standard errors of the best."""
    top = _top(cells, task)
    return 0.0 if top is None else EQUAL * standard_error(task, top.value(task.metric), top.result)


def _sign(task: Task) -> float:
    return 1.0 if task.direction == "higher" else -1.0


def _finite(cells: Sequence[Cell], task: Task) -> list[Cell]:
    return [cell for cell in cells if isfinite(cell.value(task.metric)) and isfinite(cell.value(LOSS))]


def _top(cells: Sequence[Cell], task: Task) -> Cell | None:
    return max(_finite(cells, task), key=lambda cell: _sign(task) * cell.value(task.metric), default=None)


def near_best(cells: Sequence[Cell], task: Task) -> list[Cell]:
    """The cells whose metric is within `tolerance` of the best; empty if none completed."""
    top, sign, slack = _top(cells, task), _sign(task), tolerance(cells, task)
    if top is None:
        return []
    least = sign * top.value(task.metric) - slack
    return [cell for cell in _finite(cells, task) if sign * cell.value(task.metric) >= least]


def ranked(cells: Sequence[Cell], task: Task, count: int) -> list[Cell]:
    """The `count` best cells by the metric; the lower loss first where it is equal."""
    order = sorted(
        _finite(cells, task), key=lambda cell: (-_sign(task) * cell.value(task.metric), cell.value(LOSS))
    )
    return order[:count]


def close(best: Sequence[Cell], task: Task) -> list[Cell]:
    """The cells of `best` (sorted, the best first) that one seed does not separate from the best; all if the metric's error is unknown."""
    error = standard_error(task, best[0].value(task.metric), best[0].result)
    least = _sign(task) * best[0].value(task.metric) - CLOSE * error
    return [cell for cell in best if not error or _sign(task) * cell.value(task.metric) >= least]


def broken(cell: Cell, task: Task) -> bool:
    """Whether the run diverged, or was at no epoch better than a guess without inputs."""
    if cell.result.outcome is Outcome.DIVERGED:
        return True
    return cell.result.outcome is Outcome.COMPLETE and not cell.lowest_loss < guess_loss(task)


def next_rate(cells: Sequence[Cell], rate: float) -> list[Cell]:
    """The cells of the next higher rate, if it is the next half-decade."""
    higher = min((cell.rate for cell in cells if cell.rate > rate), default=nan)
    return [cell for cell in cells if cell.rate == higher]


def best_cell(cells: Sequence[Cell], task: Task, among: Sequence[Cell] | None = None) -> Cell | None:
    """The selected cell; None if none completed. `among`: choose one of these, while `cells` show which rates break.

    Among the cells that are as good as the best, those without a broken run at the next higher rate are preferred, because
    the rate must also work with other seeds and tricks; of these the one with the lowest validation loss.
    """
    near = near_best(cells if among is None else among, task)
    safe = [cell for cell in near if not any(broken(other, task) for other in next_rate(cells, cell.rate))]
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


def cliff(cells: Sequence[Cell], best: Cell, task: Task, level: Level) -> list[Finding]:
    """A finding if runs at the next higher rate are broken."""
    neighbours = next_rate(cells, best.rate)
    lost = [cell for cell in neighbours if broken(cell, task)]
    if not lost:
        return []
    diverged = sum(cell.result.outcome is Outcome.DIVERGED for cell in lost)
    fates = [(diverged, "diverge", "diverges"), (len(lost) - diverged, "learn nothing", "learns nothing")]
    ends = [f"{count} of {len(neighbours)} runs {verb(count, *words)}" for count, *words in fates if count]
    if len(neighbours) == 1:
        ends = [f"the only run {third}" for count, _, third in fates if count]
    return [
        Finding(
            "unsound-neighbour", level,
            f"at {neighbours[0].rate:g}, next to the best rate {best.rate:g}, {' and '.join(ends)}",
            f"rate {neighbours[0].rate:g}",
            "a lower rate is safer for other seeds or tricks; warmup or clipping allow higher rates",
        )
    ]  # fmt: skip


def guess_advice(task: Task, epochs: int) -> str:
    """What to do where runs of `epochs` are no better than a guess: train longer first, where they have few steps."""
    steps = epochs * -(-len(task.train) // task.batch_size)
    if steps >= FEW_STEPS:
        return PREPARED
    longer = "--epochs" if epochs == task.epochs else "a larger --budget"
    return f"a run of {epochs} {noun(epochs, 'epoch')} has {steps} {noun(steps, 'step')} only, which may be too few to learn anything: train longer ({longer}); then {PREPARED}"


def no_better_than_a_guess(cells: Sequence[Cell], task: Task, epochs: int) -> Finding | None:
    """A finding if no run's validation loss was at any of its `epochs` below that of a guess without inputs."""
    guess = guess_loss(task)
    lowest = min((cell.lowest_loss for cell in cells if isfinite(cell.lowest_loss)), default=nan)
    if lowest < guess:
        return None
    advice = guess_advice(task, epochs)
    return Finding(
        "no-better-than-a-guess", "fail",
        f"no run predicts validation data better than a guess without inputs: the lowest loss of any epoch is {lowest:.4g}, "
        f"the guess has {guess:.4g}",
        "validation data", advice,
    )  # fmt: skip


def narrow(cells: Sequence[Cell], task: Task) -> list[Finding]:
    """A warning if a single rate reaches half of the best cell's gain over the guess, at any epoch."""
    lowest = {cell.rate: cell.lowest_loss for cell in cells if isfinite(cell.lowest_loss)}
    if len(lowest) < FEWEST:
        return []
    half = (guess_loss(task) + min(lowest.values())) / 2
    usable = [rate for rate, loss in lowest.items() if loss < half]
    if len(usable) > 1:
        return []
    return [
        Finding(
            "narrow-band", "warn", f"of {len(lowest)} rates only {usable[0]:g} learns: half a decade away less than half is gained",
            f"rate {usable[0]:g}", "normalisation layers, warmup or gradient clipping widen the range; longer runs help lower rates",
        )
    ]  # fmt: skip


def flat(cells: Sequence[Cell], task: Task) -> list[Finding]:
    """A note on how flat the optimum is, if several rates are as good as the best."""
    near, slack = near_best(cells, task), tolerance(cells, task)
    rates = [cell.rate for cell in near]
    if len(set(rates)) < 2:
        return []
    within = f"within half a standard error ({slack:.2g}) of the best" if slack else "as good as the best"
    return [
        Finding(
            "flat-optimum", "note",
            f"{len(near)} of {len(cells)} cells are {within}; "
            "among them, distance from diverging rates and then the lowest validation loss decided",
            f"rates {min(rates):g} to {max(rates):g}",
        )
    ]  # fmt: skip
