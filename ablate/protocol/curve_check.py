"""Step 6: look at the curves of the best run of step 5 and say what they show, and where."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ablate.protocol import curves
from ablate.protocol.prior import Prior
from ablate.protocol.selection import Cell
from ablate.protocol.short_runs import Array
from ablate.protocol.steps import Finding, Step
from ablate.tasks.task import Task

SHOWN = ("train/loss", "validation/loss", "train/accuracy", "validation/accuracy")


def check_curves(best: Cell, task: Task) -> Step:
    """Judges and draws the best cell's curves. Only passes or warns."""
    recorded = best.result.curves
    given = {name: np.asarray(recorded[name], dtype=float) for name in SHOWN if name in recorded}
    epochs = len(given["train/loss"])
    if epochs < curves.MIN_EPOCHS:
        found = [
            Finding("too-short", "note", f"{epochs} epochs are too few to read curves", "", "train longer")
        ]
    else:
        found = diagnose(given, Prior.of(task).loss, len(task.validation))
    if not found:
        said = "no plateau, no spike, no turn, and a gap of ordinary width"
        found = [Finding("sound-curves", "note", said, curves.epochs(1, epochs))]
    drawn = {name: values.tolist() for name, values in given.items()}
    return Step(
        6, {"curves": drawn, "of": {"learning_rate": best.rate, "weight_decay": best.decay}}, tuple(found)
    )


def diagnose(given: Mapping[str, Array], prior: float, examples: int) -> list[Finding]:
    """All that the curves show. `given`: `split/loss`, and `split/accuracy` where the task has it.

    prior: the loss of a model without inputs; examples: how many validation examples there are.
    """
    train, validation = given["train/loss"], given["validation/loss"]
    found = [curves.plateau(train), curves.rising(validation) or curves.still_falling(validation)]
    if "train/accuracy" in given:
        found.append(curves.accuracy_gap(given["train/accuracy"], given["validation/accuracy"], examples))
    else:
        found.append(curves.loss_gap(train, validation, prior))
    found.append(curves.spikes(train))
    return [finding for finding in found if finding is not None]
