"""Step 4: a coarse grid of learning rate × weight decay, a few epochs, around the rate of step 3."""

from __future__ import annotations

from math import ceil

from ablate.protocol.explore import rates_around
from ablate.protocol.grid import (
    LOSS,
    Cell,
    best_cell,
    diverging,
    edge,
    figures,
    none_completed,
    train_grid,
    widened,
)
from ablate.protocol.prior import validation_prior
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
    best = best_cell(cells, task)
    findings: list[Finding] = []
    cells, best, findings = at_edge(ground, cells, best, DECAYS, epochs, ARM, PER_DECADE)
    told = {**figures(cells, task), "epochs": epochs}
    if best is None:
        return Step(4, told, (none_completed(cells),)), None
    told |= {"learning_rate": best.rate, "weight_decay": best.decay}
    findings += diverging(cells, best) + beats_the_prior(cells, best, task)
    return Step(4, told, tuple(findings)), best


def at_edge(
    ground: Ground,
    cells: list[Cell],
    best: Cell | None,
    decays: tuple[float, ...],
    epochs: int,
    arm: str,
    per_decade: float,
) -> tuple[list[Cell], Cell | None, list[Finding]]:
    """Widen once where the best rate is the outermost: two more rates beyond it. Then warn if it still is.

    Where nothing completed, the rates below are tried.
    """
    side = -1 if best is None else edge(cells, best)
    if not side:
        return cells, best, []
    rates = sorted({cell.rate for cell in cells})
    outer = rates[0] if side < 0 else rates[-1]
    beyond = rates_around(outer, 5, per_decade)
    beyond = beyond[:2] if side < 0 else beyond[-2:]
    cells = widened(ground, cells, decays, epochs, arm, beyond)
    best = best_cell(cells, ground.bench.task)
    findings = [
        Finding(
            "widened", "note", f"the best rate was the outermost, {outer:g}: {beyond[0]:g} and {beyond[1]:g} were added",
            arm,
        )
    ]  # fmt: skip
    if best is not None and edge(cells, best):
        findings.append(
            Finding(
                "edge", "warn", f"the best rate, {best.rate:g}, sits at the edge of the grid, also after widening",
                f"rate {best.rate:g}", "look further: the scale of inputs, targets or outputs is unusual, or runs are short",
            )
        )  # fmt: skip
    return cells, best, findings


def beats_the_prior(cells: list[Cell], best: Cell, task: Task) -> list[Finding]:
    """Fails where no cell predicts validation data better than the training targets' distribution does."""
    prior = validation_prior(task)
    lowest = min(cell.value(LOSS) for cell in cells if cell.value(LOSS) == cell.value(LOSS))
    if lowest < 0.99 * prior.loss or best.value("validation/accuracy") > prior.clearly_better:
        return []
    return [
        Finding(
            "no-better-than-the-prior", "fail",
            f"no run predicts validation data better than a guess without inputs: loss {lowest:.3g}, prior {prior.loss:.3g}",
            "validation data",
            "look whether labels and inputs belong together, and whether both splits were prepared in the same way",
        )
    ]  # fmt: skip
