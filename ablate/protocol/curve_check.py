"""Step 6: diagnose the learning curves of the best run of step 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ablate.protocol import curves
from ablate.protocol.cells import Cell
from ablate.protocol.prior import PriorLosses
from ablate.protocol.short_runs import Array
from ablate.protocol.steps import Finding, Step
from ablate.records.words import noun, verb
from ablate.tasks.task import Task

SHOWN = ("train/loss", "validation/loss", "train/accuracy", "validation/accuracy")


def check_curves(best: Cell, task: Task) -> Step:
    """Diagnose and plot the best cell's curves. The verdict is pass or warn, never fail."""
    recorded_curves = as_arrays(best.result.curves)
    epochs = len(recorded_curves["train/loss"])
    if task.criterion == "adversarial":
        message = "losses of two networks that train against each other do not show their progress: look at the metric"
        findings = [Finding("losses-of-a-game", "note", message)]
    elif epochs < curves.MIN_EPOCHS:
        findings = [
            Finding(
                "too-short",
                "note",
                f"{epochs} {noun(epochs, 'epoch')} {verb(epochs, 'are', 'is')} too few to diagnose curves",
                "",
                "train longer",
            )
        ]
    else:
        findings = diagnose(recorded_curves, PriorLosses.of(task).loss, len(task.validation))
    if not findings:
        message = "no plateau, no spike, no rising validation loss, no unusual generalisation gap"
        findings = [Finding("sound-curves", "note", message, curves.epochs(1, epochs))]
    drawn = {name: values.tolist() for name, values in recorded_curves.items()}
    return Step(
        6, {"curves": drawn, "of": {"learning_rate": best.rate, "weight_decay": best.decay}}, tuple(findings)
    )


def as_arrays(recorded: Mapping[str, Sequence[float]]) -> dict[str, Array]:
    """The recorded curves that step 6 looks at."""
    return {name: np.asarray(recorded[name], dtype=float) for name in SHOWN if name in recorded}


def diagnose_recorded(recorded: Mapping[str, Sequence[float]], prior: float, examples: int) -> list[Finding]:
    """`diagnose` of curves as a result records them."""
    return diagnose(as_arrays(recorded), prior, examples)


def diagnose(values: Mapping[str, Array], prior: float, examples: int) -> list[Finding]:
    """All findings. `values`: `split/loss`, and `split/accuracy` for classification, `[epochs]` each.

    `prior`: the loss of a model without inputs; `examples`: the number of validation examples.
    """
    train, validation = values["train/loss"], values["validation/loss"]
    findings = [curves.plateau(train), curves.rising(validation) or curves.still_falling(validation)]
    if "train/accuracy" in values:
        findings.append(
            curves.accuracy_gap(values["train/accuracy"], values["validation/accuracy"], examples)
        )
    else:
        findings.append(curves.loss_gap(train, validation, prior))
    findings.append(curves.spikes(train))
    return [finding for finding in findings if finding is not None]
