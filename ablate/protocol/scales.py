"""The scale of inputs and targets: whether gradients will be far too large or too small."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ablate.protocol.steps import Finding, Level
from ablate.tasks.split import Split
from ablate.tasks.task import Task

LARGE, TINY = 10.0, 0.05
"""Root mean square of a feature, and largest absolute value of all inputs, that suggest unscaled inputs."""
VANISHING = 0.005
"""Inputs of which none is larger hardly move any first layer."""
TARGET = 10.0
"""Root mean square of a regression target above which (or below whose inverse) gradients are badly scaled."""


def within_feature(x: Tensor) -> list[int]:
    """The axes to reduce for per-feature statistics: all but channels (images) or columns (tables)."""
    return [axis for axis in range(x.ndim) if axis != 1 or x.ndim not in (2, 4)]


def standardised(sample: Split) -> Split:
    """The sample with each channel or column scaled to mean 0 and standard deviation 1; constant ones are only centred."""
    x = sample.in_memory.double()
    over = within_feature(x)
    mean, deviation = x.mean(over, keepdim=True), x.std(over, correction=0, keepdim=True)
    return replace(sample, x=((x - mean) / deviation.where(deviation > 0, 1.0)).to(sample.x.dtype))


def input_scale(x: Tensor) -> dict[str, float]:
    """Figures on the scale of the inputs; empty for integers."""
    if not x.is_floating_point():
        return {}
    values = x.double()
    return {
        "mean": float(values.mean()),
        "deviation": float(values.std(correction=0)),
        "largest": float(values.abs().max()),
    }


def input_findings(x: Tensor) -> list[Finding]:
    """A note if the scale of the inputs is unusual, independent of the loss (the model may normalise them)."""
    if not x.is_floating_point():
        return []
    rms = x.double().square().mean(within_feature(x)).sqrt().flatten()
    level: Level = "note"
    largest = float(x.abs().max())
    if float(rms.max()) > LARGE:
        what = {
            2: f"column {int(rms.argmax())} of the inputs",
            4: f"channel {int(rms.argmax())} of the inputs",
        }
        message = f"their root mean square is up to {float(rms.max()):.3g}"
        where = what.get(x.ndim, "inputs")
    elif largest < TINY:
        message, where = f"none is larger than {largest:.3g}", "inputs"
        level = "warn" if largest < VANISHING else "note"
    else:
        return []
    advice = "scale the inputs to mean 0 and deviation 1 by the training data"
    return [Finding("inputs-not-normalised", level, f"the inputs are badly scaled: {message}", where, advice)]


def target_findings(task: Task) -> list[Finding]:
    """Findings on labels that start at 1, and on badly scaled regression targets."""
    y = task.train.y
    if task.classes is not None:
        counts = y.bincount(minlength=task.classes)
        if task.classes > 2 and counts[0] == 0 and bool((counts[1:] > 0).all()):
            return [
                Finding(
                    "labels-shifted", "warn", f"no example has class 0, all of 1 … {task.classes - 1} occur",
                    "labels", "labels seem to start at 1: subtract 1",
                )
            ]  # fmt: skip
        return []
    if task.criterion != "regression":
        return []
    rms = float(y.double().square().mean().sqrt())
    if 1 / TARGET <= rms <= TARGET:
        return []
    return [
        Finding(
            "target-not-standardised", "warn",
            f"the target's mean is {float(y.double().mean()):.3g} and its deviation {float(y.double().std(correction=0)):.3g}, "
            "and gradients grow with it",
            "target", "scale the target to mean 0 and deviation 1 by the training data",
        )
    ]  # fmt: skip
