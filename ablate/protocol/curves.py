"""What learning curves show, as pure functions of arrays: plateaus, ends, gaps, turns, spikes.

Curves have one value an epoch (position 0 is epoch 1); findings name epochs as a person counts them. Judged is
a moving average, against the scatter of the raw points around it. A finding is never graver than a warning.
"""

from __future__ import annotations

import numpy as np

from ablate.protocol.short_runs import Array, moving_average
from ablate.protocol.steps import Finding

MIN_EPOCHS = 5
"""Fewer epochs than this tell nothing."""
PLATEAU = 0.05
"""Share of the whole drop that must be done for a plateau to be over."""
FALLING = 0.05
"""Share of the validation loss that the last quarter of the epochs must still take off."""
RISING = 0.1
"""Share of its lowest value by which the validation loss must have risen."""
WIDE, NO_GAP, PERFECT = 0.05, 0.01, 0.95
"""Accuracies: a wide gap, no gap, and a training accuracy that leaves nothing to gain."""
WIDE_SHARE, NO_GAP_SHARE, UNEXPLAINED = 0.4, 0.05, 0.1
"""The same for losses, as shares of the validation loss; and of the prior that is left to explain."""
SPIKE, ORDINARY, VISIBLE = 0.3, 5.0, 0.01
"""A spike stands so much above its surroundings, in shares of them, in usual changes, in shares of the first loss."""
RECOVERY = 3
"""Epochs in which a spike must be over; what stays up is no spike."""


def scatter(values: Array) -> float:
    """Standard deviation of single points around a smooth curve.

    From second differences (a straight line has none), by their median, so that spikes do not count.
    """
    if len(values) < 3:
        return 0.0
    bends = values[1:-1] - (values[:-2] + values[2:]) / 2
    return float(1.4826 * np.median(np.abs(bends)) / np.sqrt(1.5))


def epochs(first: int, last: int) -> str:
    return f"epoch {first}" if first == last else f"epochs {first} to {last}"


def plateau(train_loss: Array) -> Finding | None:
    """The loss stands still at first, for at least 3 epochs and a tenth of all, and falls later."""
    if len(train_loss) < MIN_EPOCHS:
        return None
    smooth = moving_average(train_loss)
    drop = smooth[0] - smooth.min()
    if drop < 0.1 * smooth[0] or drop < 3 * scatter(train_loss):
        return None
    length = int(np.argmax(smooth[0] - smooth > PLATEAU * drop))
    if length < max(3, len(smooth) // 10):
        return None
    return Finding(
        "start-up-plateau", "warn", f"the training loss stands still at {smooth[:length].mean():.3g} before it falls",
        epochs(1, length), "a better initialisation, normalisation, or a higher rate with warm-up",
    )  # fmt: skip


def still_falling(validation_loss: Array) -> Finding | None:
    """The last quarter of the epochs still took a share off the validation loss, beyond its scatter."""
    if len(validation_loss) < MIN_EPOCHS:
        return None
    quarter = max(2, len(validation_loss) // 4)
    before = float(validation_loss[-2 * quarter : -quarter].mean())
    fall = before - float(validation_loss[-quarter:].mean())
    if fall < FALLING * before or fall < 2 * scatter(validation_loss):
        return None
    last = len(validation_loss)
    return Finding(
        "still-falling", "warn", f"the validation loss is still falling, by {fall / before:.0%} in the last {quarter} epochs",
        epochs(last - quarter + 1, last), "train longer",
    )  # fmt: skip


def rising(validation_loss: Array) -> Finding | None:
    """The validation loss turned at least two epochs before the end, and ends clearly above its lowest."""
    if len(validation_loss) < MIN_EPOCHS:
        return None
    smooth = moving_average(validation_loss)
    lowest = int(smooth.argmin())
    end = float(np.median(validation_loss[-max(3, len(smooth) // 5) :]))  # one bad epoch is no turn
    rise = end - float(smooth[lowest])
    if len(smooth) - 1 - lowest < 2 or rise < RISING * smooth[lowest] or rise < 3 * scatter(validation_loss):
        return None
    return Finding(
        "validation-rising", "warn", f"the validation loss rises from {smooth[lowest]:.3g} to {end:.3g}",
        epochs(lowest + 1, len(smooth)), f"stop early, near epoch {lowest + 1}, or regularise",
    )  # fmt: skip


def accuracy_gap(train: Array, validation: Array, examples: int) -> Finding | None:
    """Between training and validation accuracy at the end: wide, or none while training is far from perfect.

    examples: how many the validation accuracy is over; a gap below three standard errors is not called wide.
    """
    if min(len(train), len(validation)) < MIN_EPOCHS:
        return None
    last = max(2, len(train) // 5)
    own, other = float(train[-last:].mean()), float(validation[-last:].mean())
    error = np.sqrt(max(other * (1 - other), 0.0) / examples)
    ends = f"training accuracy {own:.3g}, validation accuracy {other:.3g}"
    where = epochs(len(train) - last + 1, len(train))
    if own - other > max(WIDE, 3 * error):
        return _wide(ends, where)
    return _none(ends, where) if own - other < NO_GAP and own < PERFECT else None


def loss_gap(train: Array, validation: Array, prior: float) -> Finding | None:
    """The same between losses; `prior` is the loss of a model without inputs."""
    if min(len(train), len(validation)) < MIN_EPOCHS:
        return None
    last = max(2, len(train) // 5)
    own, other = float(train[-last:].mean()), float(validation[-last:].mean())
    ends = f"training loss {own:.3g}, validation loss {other:.3g}"
    where = epochs(len(train) - last + 1, len(train))
    if other - own > WIDE_SHARE * other:
        return _wide(ends, where)
    return _none(ends, where) if other - own < NO_GAP_SHARE * other and own > UNEXPLAINED * prior else None


def _wide(ends: str, where: str) -> Finding:
    advice = "regularise: weight decay, dropout, augmentation, label smoothing; or more data"
    return Finding("wide-gap", "warn", f"the gap is wide: {ends}", where, advice)


def _none(ends: str, where: str) -> Finding:
    advice = "the data would bear a larger model, or more epochs"
    return Finding("no-gap", "warn", f"there is no gap, and something left to learn: {ends}", where, advice)


def spikes(train_loss: Array) -> Finding | None:
    """Jumps of the training loss that are over within a few epochs."""
    if len(train_loss) < MIN_EPOCHS:
        return None
    usual = float(np.median(np.abs(np.diff(train_loss))))
    found = []
    for place in range(1, len(train_loss) - 1):
        around = max(train_loss[place - 1], train_loss[place + 1 : place + 1 + RECOVERY].min())
        above = train_loss[place] - around
        if above > max(SPIKE * around, ORDINARY * usual, VISIBLE * train_loss[0]):
            found.append(place + 1)
    if not found:
        return None
    which = ", ".join(str(epoch) for epoch in found[:5]) + (", …" if len(found) > 5 else "")
    return Finding(
        "spikes", "warn", f"the training loss jumps up for a moment, {len(found)} time{'s' * (len(found) > 1)}",
        f"epoch{'s' * (len(found) > 1)} {which}", "clip gradients, warm up, or lower the rate",
    )  # fmt: skip
