"""Step 5: a fine grid around the best cell of step 4, more epochs, constant rate."""

from __future__ import annotations

from ablate.protocol.choice import Cell, cliff, flat, learned
from ablate.protocol.explore import tidy
from ablate.protocol.grid import Grid, figures, none_completed, search
from ablate.protocol.prior import Blind
from ablate.protocol.steps import Ground, Step
from ablate.tasks.task import Task

PER_DECADE = 4.0
EPOCHS, MOST_EPOCHS, STEPS = 10, 20, 150
ARM = "fine grid"
NO_DECAY = (0.0, 1e-5)


def fine_epochs(task: Task) -> int:
    """10; up to 20 where 10 are fewer than `STEPS` steps; never more than a run of the task has."""
    per_epoch = max(1, len(task.train) // task.batch_size)
    return min(task.epochs, max(EPOCHS, min(MOST_EPOCHS, -(-STEPS // per_epoch))))


def decays_around(decay: float) -> tuple[float, ...]:
    """The decay and a half decade to both sides; none beside very little."""
    return (tidy(decay / 10**0.5), decay, tidy(decay * 10**0.5)) if decay else NO_DECAY


def fine_grid(ground: Ground, coarse: Cell) -> tuple[Step, Cell | None]:
    """The step, and its best cell: what the protocol ends with."""
    task = ground.context.task
    blind, epochs = Blind.of(task), fine_epochs(task)
    grid = Grid(ARM, coarse.rate, PER_DECADE, decays_around(coarse.decay), epochs)
    cells, best, findings = search(ground, grid, blind)
    told = figures(cells, best, task, epochs)
    if best is None:
        return Step(5, told, (*findings, none_completed(cells))), None
    found = learned(cells, best, blind) or cliff(cells, best, blind, "warn")
    return Step(5, told, (*found, *findings, *flat(cells, task))), best
