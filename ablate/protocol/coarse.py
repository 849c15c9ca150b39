"""Step 4: a coarse grid of learning rate × weight decay, a few epochs, around the rate of step 3."""

from __future__ import annotations

from ablate.protocol.grid import Grid, figures, none_completed, search
from ablate.protocol.prior import NoInputBaseline
from ablate.protocol.selection import Cell, cliff, learned
from ablate.protocol.steps import Setup, Step
from ablate.tasks.task import Task

DECAYS = (0.0, 1e-5, 1e-4)
PER_DECADE = 2.0
STEPS, MOST_EPOCHS = 100, 5
FEWEST_STEPS = 50
"""Where `MOST_EPOCHS` make fewer steps than this (small data), more epochs are trained."""
ARM = "coarse grid"


def coarse_epochs(task: Task) -> int:
    """As many as make about `STEPS` steps, at most `MOST_EPOCHS`; never more than a run of the task has."""
    per_epoch = max(1, len(task.train) // task.batch_size)
    return min(task.epochs, max(min(MOST_EPOCHS, -(-STEPS // per_epoch)), -(-FEWEST_STEPS // per_epoch)))


def coarse_grid(setup: Setup, center: float) -> tuple[Step, Cell | None]:
    """The step, and its best cell (None where nothing completed)."""
    task = setup.context.task
    no_input, epochs = NoInputBaseline.of(task), coarse_epochs(task)
    cells, best, findings = search(setup, Grid(ARM, center, PER_DECADE, DECAYS, epochs), no_input)
    told = figures(cells, best, task, epochs)
    if best is None:
        return Step(4, told, (*findings, none_completed(cells))), None
    found = learned(cells, best, no_input, lenient=True) or cliff(cells, best, no_input, "note")
    return Step(4, told, (*found, *findings)), best
