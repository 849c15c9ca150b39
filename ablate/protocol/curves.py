"""What learning curves show, as pure functions of arrays: plateaus, ends, gaps, turns, spikes.

Every function takes curves with one value an epoch (position 0 is epoch 1), looks at a moving average, and
names epochs as a person counts them. A finding of this file is never graver than a warning.
"""

from __future__ import annotations

import numpy as np

from ablate.protocol.explore import Array
from ablate.protocol.steps import Finding

SHORT = 5
"""Fewer epochs than this tell nothing."""
PLATEAU = 0.05
FALLING = 0.05
RISING = 0.1
WIDE, NONE = 0.05, 0.01
SPIKE, ORDINARY = 0.3, 5.0


def moving_average(values: Array, window: int = 3) -> Array:
    """Centred average over `window` (odd) points, narrower at the ends."""
    half = window // 2
    return np.array(
        [
            values[place - reach : place + reach + 1].mean()
            for place in range(len(values))
            for reach in [min(half, place, len(values) - 1 - place)]
        ]
    )


def noise(values: Array) -> float:
    """Standard deviation of single points around their neighbours' mean, robustly: by the median of its absolute values."""
    if len(values) < 3:
        return 0.0
    off = values[1:-1] - (values[:-2] + values[2:]) / 2
    return float(1.4826 * np.median(np.abs(off)) / np.sqrt(1.5))


def plateau(train_loss: Array) -> Finding | None:
    """The loss stands still at first and falls later: at least 3 epochs and a tenth of all."""
    if len(train_loss) < SHORT:
        return None
    smooth = moving_average(train_loss)
    drop = smooth[0] - smooth.min()
    fallen = np.flatnonzero(smooth[0] - smooth > PLATEAU * drop)
    length = int(fallen[0]) if len(fallen) else 0
    if length < max(3, len(smooth) // 10) or drop < 0.1 * smooth[0]:
        return None
    return Finding(
        "start-up-plateau", "warn", f"the training loss stands still at {smooth[:length].mean():.3g} and then falls",
        f"epochs 1 to {length}", "a better initialisation, normalisation, or a higher rate with warm-up",
    )  # fmt: skip


def still_falling(validation_loss: Array) -> Finding | None:
    """The last quarter still took a share off the validation loss, beyond its noise."""
    if len(validation_loss) < SHORT:
        return None
    quarter = max(2, len(validation_loss) // 4)
    before, after = validation_loss[-2 * quarter : -quarter].mean(), validation_loss[-quarter:].mean()
    fall = before - after
    if fall < FALLING * before or fall < 2 * noise(validation_loss):
        return None
    first = len(validation_loss) - quarter + 1
    return Finding(
        "still-falling", "warn", f"the validation loss is still falling: {fall / before:.0%} in the last {quarter} epochs",
        f"epochs {first} to {len(validation_loss)}", "train longer",
    )  # fmt: skip


def rising(validation_loss: Array) -> Finding | None:
    """The smoothed validation loss turned well before the end and stands clearly above its lowest."""
    if len(validation_loss) < SHORT:
        return None
    smooth = moving_average(validation_loss)
    lowest = int(smooth.argmin())
    end = smooth[-max(2, len(smooth) // 5) :].mean()
    rise = end - smooth[lowest]
    if len(smooth) - 1 - lowest < 2 or rise < RISING * smooth[lowest] or rise < 3 * noise(validation_loss):
        return None
    return Finding(
        "validation-rising", "warn",
        f"the validation loss rises from {smooth[lowest]:.3g} in epoch {lowest + 1} to {end:.3g}",
        f"epochs {lowest + 1} to {len(smooth)}", f"stop early, near epoch {lowest + 1}, or regularise",
    )  # fmt: skip


def gap(train: Array, validation: Array, *, accuracy: bool) -> Finding | None:
    """The distance between training and validation at the end: wide, or none while training is not perfect.

    accuracy: both are accuracies; else both are losses, and the gap is a share of the validation loss.
    """
    if min(len(train), len(validation)) < SHORT:
        return None
    last = max(2, len(train) // 5)
    own, other = float(train[-last:].mean()), float(validation[-last:].mean())
    wide = own - other if accuracy else (other - own) / max(other, 1e-12) / 4
    where = f"epochs {len(train) - last + 1} to {len(train)}"
    name = "accuracy" if accuracy else "loss"
    if wide > WIDE:
        return Finding(
            "wide-gap", "warn", f"training {name} is {own:.3g}, validation {name} {other:.3g}", where,
            "regularise: weight decay, dropout, augmentation, label smoothing; or more data",
        )  # fmt: skip
    if accuracy and wide < NONE and own < 0.98:
        return Finding(
            "no-gap", "warn", f"training accuracy {own:.3g} is no better than validation accuracy {other:.3g}", where,
            "the model is not yet used up: a larger model, or more epochs",
        )  # fmt: skip
    return None


def spikes(train_loss: Array) -> Finding | None:
    """Single epochs whose loss jumps above both neighbours, far beyond the ordinary noise."""
    if len(train_loss) < SHORT:
        return None
    level = np.maximum(train_loss[:-2], train_loss[2:])
    above = train_loss[1:-1] - level
    usual = np.median(np.abs(np.diff(train_loss)))
    high = np.flatnonzero((above > SPIKE * level) & (above > ORDINARY * usual)) + 2
    if not len(high):
        return None
    which = ", ".join(str(epoch) for epoch in high[:5].tolist())
    return Finding(
        "spikes", "warn", f"the training loss jumps up for a moment, {len(high)} time{'s' if len(high) > 1 else ''}",
        f"epoch {which}" if len(high) == 1 else f"epochs {which}", "clip gradients, warm up, or lower the rate",
    )  # fmt: skip
