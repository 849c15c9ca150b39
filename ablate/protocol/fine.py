"""Step 5: a fine grid around the best cell of step 4, more epochs, constant rate."""

from __future__ import annotations

from ablate.protocol.explore import rates_around, tidy
from ablate.protocol.grid import (
    Cell,
    figures,
    none_completed,
    tolerance,
    train_grid,
    unsound_neighbour,
    widened,
)
from ablate.protocol.prior import Blind
from ablate.protocol.steps import Finding, Ground, Step
from ablate.tasks.task import Task

COUNT, PER_DECADE = 5, 4.0
EPOCHS, MOST_EPOCHS, STEPS = 10, 20, 150
ARM = "fine grid"
NO_DECAY = (0.0, 1e-5)


def fine_epochs(task: Task) -> int:
    """10; up to 20 where 10 are fewer than `STEPS` steps; never more than a run of the task has."""
    per_epoch = max(1, len(task.train) // task.batch_size)
    wanted = EPOCHS if EPOCHS * per_epoch >= STEPS else min(MOST_EPOCHS, -(-STEPS // per_epoch))
    return min(task.epochs, wanted)


def decays_around(decay: float) -> tuple[float, ...]:
    """The decay and a half decade to both sides; none beside very little."""
    return (tidy(decay / 10**0.5), decay, tidy(decay * 10**0.5)) if decay else NO_DECAY


def fine_grid(ground: Ground, coarse: Cell) -> tuple[Step, Cell | None]:
    """The step, and its best cell: what the protocol ends with."""
    task, epochs = ground.bench.task, fine_epochs(ground.bench.task)
    decays = decays_around(coarse.decay)
    cells = train_grid(ground, rates_around(coarse.rate, COUNT, PER_DECADE), decays, epochs, ARM)
    cells, best, findings = widened(ground, cells, decays, epochs, ARM, PER_DECADE)
    told = {**figures(cells, task), "epochs": epochs}
    if best is None:
        return Step(5, told, (none_completed(cells),)), None
    told |= {"learning_rate": best.rate, "weight_decay": best.decay}
    return Step(
        5, told, (*findings, *unsound_neighbour(cells, best, Blind.of(task)), *as_good(cells, best, task))
    ), best


def as_good(cells: list[Cell], best: Cell, task: Task) -> list[Finding]:
    """A note that says how flat the optimum is, where it is flat."""
    slack = tolerance(task, best.value(task.metric))
    near = [cell for cell in cells if abs(cell.value(task.metric) - best.value(task.metric)) <= slack]
    if slack == 0 or len(near) < 2:
        return []
    rates = sorted({cell.rate for cell in near})
    return [
        Finding(
            "flat-optimum", "note",
            f"{len(near)} of {len(cells)} cells are within one standard error ({slack:.2g}) of the chosen one, "
            f"rates {rates[0]:g} to {rates[-1]:g}; among them the lowest validation loss decided",
            ARM,
        )
    ]  # fmt: skip
