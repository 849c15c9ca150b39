"""Step 4: a coarse grid of learning rate × weight decay around the rate of step 3, for a few epochs."""

from __future__ import annotations

from ablate.protocol.grid import Grid, none_completed, search, summarise
from ablate.protocol.prior import NoInputBaseline
from ablate.protocol.selection import Cell, cliff, learned
from ablate.protocol.steps import Setup, Step
from ablate.tasks.task import Task

DECAYS = (0.0, 1e-5, 1e-4)
PER_DECADE = 2.0
STEPS, MOST_EPOCHS = 100, 5
FEWEST_STEPS = 50
"""If `MOST_EPOCHS` give fewer steps than this (small data), more epochs are trained."""
ARM = "coarse grid"


def coarse_epochs(task: Task) -> int:
    """Enough for about `STEPS` steps, at most `MOST_EPOCHS` and at most the epochs of the task."""
    per_epoch = max(1, len(task.train) // task.batch_size)
    return min(task.epochs, max(min(MOST_EPOCHS, -(-STEPS // per_epoch)), -(-FEWEST_STEPS // per_epoch)))


def coarse_grid(setup: Setup, center: float) -> tuple[Step, Cell | None]:
    """The step, and its best cell (None if no run completed)."""
    task = setup.context.task
    no_input, epochs = NoInputBaseline.of(task), coarse_epochs(task)
    cells, best, findings = search(setup, Grid(ARM, center, PER_DECADE, DECAYS, epochs), no_input)
    summary = summarise(cells, best, task, epochs)
    if best is None:
        return Step(4, summary, (*findings, none_completed(cells))), None
    judgement = learned(cells, best, no_input, lenient=True) or cliff(cells, best, no_input, "note")
    return Step(4, summary, (*judgement, *findings)), best
