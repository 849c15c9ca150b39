"""Step 5: a fine grid around the best cell of step 4, more epochs, constant rate."""

from __future__ import annotations

from ablate.protocol.grid import Grid, none_completed, search, summarise
from ablate.protocol.prior import NoInputBaseline
from ablate.protocol.selection import Cell, cliff, flat, learned
from ablate.protocol.short_runs import round_rate
from ablate.protocol.steps import Setup, Step
from ablate.tasks.task import Task

PER_DECADE = 4.0
EPOCHS, MOST_EPOCHS, STEPS = 10, 20, 150
ARM = "fine grid"
NO_DECAY = (0.0, 1e-5)


def fine_epochs(task: Task) -> int:
    """10; up to 20 if 10 give fewer than `STEPS` steps; at most the epochs of the task."""
    per_epoch = max(1, len(task.train) // task.batch_size)
    return min(task.epochs, max(EPOCHS, min(MOST_EPOCHS, -(-STEPS // per_epoch))))


def decays_around(decay: float) -> tuple[float, ...]:
    """The decay and half a decade on either side; for zero decay, zero and a very small one."""
    return (round_rate(decay / 10**0.5), decay, round_rate(decay * 10**0.5)) if decay else NO_DECAY


def fine_grid(setup: Setup, coarse: Cell) -> tuple[Step, Cell | None]:
    """The step, and its best cell: the result of the protocol (None if no run completed)."""
    task = setup.context.task
    no_input, epochs = NoInputBaseline.of(task), fine_epochs(task)
    grid = Grid(ARM, coarse.rate, PER_DECADE, decays_around(coarse.decay), epochs)
    cells, best, findings = search(setup, grid, no_input)
    summary = summarise(cells, best, task, epochs)
    if best is None:
        return Step(5, summary, (*findings, none_completed(cells))), None
    judgement = learned(cells, best, no_input) or cliff(cells, best, no_input, "warn")
    return Step(5, summary, (*judgement, *findings, *flat(cells, task))), best
