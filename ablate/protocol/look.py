"""Step 6: look at the curves of the best run of step 5 and say what they show, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ablate.protocol import curves
from ablate.protocol.explore import Array
from ablate.protocol.steps import Finding, Step

SHOWN = ("train/loss", "validation/loss", "train/accuracy", "validation/accuracy")


def look(recorded: Mapping[str, Sequence[float]], *, rate: float, decay: float) -> Step:
    """`recorded`: a run's curves, `split/metric` -> one value an epoch. Only passes or warns."""
    given = {name: np.asarray(recorded[name], dtype=float) for name in SHOWN if name in recorded}
    found = diagnose(given)
    epochs = max((len(values) for values in given.values()), default=0)
    if epochs < curves.SHORT:
        found = [
            Finding("too-short", "note", f"{epochs} epochs are too few to read a curve", "", "train longer")
        ]
    elif not found:
        found = [
            Finding(
                "sound-curves",
                "note",
                "no plateau, spike or turn, and a gap of ordinary width",
                f"epochs 1 to {epochs}",
            )
        ]
    figures = {
        "curves": {name: values.tolist() for name, values in given.items()},
        "learning_rate_of_run": rate,
        "weight_decay_of_run": decay,
    }
    return Step(6, figures, tuple(found))


def diagnose(given: Mapping[str, Array]) -> list[Finding]:
    """All that the curves show. Losses by `split/loss`; accuracies where the task has them."""
    none = np.empty(0)
    train, validation = given.get("train/loss", none), given.get("validation/loss", none)
    turned = curves.rising(validation)
    found = [curves.plateau(train), None if turned else curves.still_falling(validation), turned]
    if "train/accuracy" in given and "validation/accuracy" in given:
        found.append(curves.gap(given["train/accuracy"], given["validation/accuracy"], accuracy=True))
    else:
        found.append(curves.gap(train, validation, accuracy=False))
    found.append(curves.spikes(train))
    return [finding for finding in found if finding is not None]
