"""Step 4: a coarse grid of learning rate × weight decay, a few epochs, around the rate of step 3."""

from __future__ import annotations

from math import ceil, isfinite

from ablate.protocol.explore import rates_around
from ablate.protocol.grid import (
    LOSS,
    Cell,
    figures,
    none_completed,
    train_grid,
    unsound_neighbour,
    widened,
)
from ablate.protocol.prior import Blind
from ablate.protocol.steps import Finding, Ground, Step
from ablate.tasks.task import Task

DECAYS = (0.0, 1e-5, 1e-4)
COUNT, PER_DECADE = 5, 2.0
STEPS, MOST_EPOCHS = 100, 5
ARM = "coarse grid"


def coarse_epochs(task: Task) -> int:
    """As many as make about `STEPS` steps, from 1 to `MOST_EPOCHS`, and no more than a run of the task has."""
    per_epoch = max(1, len(task.train) // task.batch_size)
    return min(MOST_EPOCHS, task.epochs, max(1, ceil(STEPS / per_epoch)))


def coarse_grid(ground: Ground, center: float) -> tuple[Step, Cell | None]:
    """The step, and its best cell (None where nothing completed)."""
    task, epochs = ground.bench.task, coarse_epochs(ground.bench.task)
    cells = train_grid(ground, rates_around(center, COUNT, PER_DECADE), DECAYS, epochs, ARM)
    cells, best, findings = widened(ground, cells, DECAYS, epochs, ARM, PER_DECADE)
    told = {**figures(cells, task), "epochs": epochs}
    if best is None:
        return Step(4, told, (none_completed(cells),)), None
    told |= {"learning_rate": best.rate, "weight_decay": best.decay}
    blind = Blind.of(task)
    findings += unsound_neighbour(cells, best, blind) + learned(cells, blind)
    return Step(4, told, tuple(findings)), best


def learned(cells: list[Cell], blind: Blind) -> list[Finding]:
    """Fails where no cell predicts validation data better than a guess that needs no inputs."""
    if any(blind.beaten(cell.value(LOSS), cell.value("validation/accuracy")) for cell in cells):
        return []
    lowest = min(cell.value(LOSS) for cell in cells if isfinite(cell.value(LOSS)))
    return [
        Finding(
            "no-better-than-a-guess", "fail",
            f"no run predicts validation data better than a guess without inputs: loss {lowest:.3g}, the guess {blind.loss:.3g}",
            "validation data",
            "look whether labels and inputs belong together, and whether both splits were prepared in the same way",
        )
    ]  # fmt: skip
