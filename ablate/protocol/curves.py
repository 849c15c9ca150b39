"""Diagnosis of learning curves as pure functions of arrays: plateau, still falling, gap, rising, spikes.

Curves have one value per epoch (position 0 is epoch 1); findings count epochs from 1. A moving average is
compared with the scatter of the raw points around it. What more epochs or another size may improve is a note; a warning says
that something went wrong.
"""

from __future__ import annotations

import numpy as np

from ablate.protocol.short_runs import Array, moving_average
from ablate.protocol.steps import Finding, Level
from ablate.records.words import noun

MIN_EPOCHS = 5
"""Fewest epochs for a diagnosis."""
PLATEAU = 0.05
"""Fraction of the total drop at which a plateau ends."""
FALLING = 0.05
"""Fraction of the validation loss by which it must still fall in the last quarter of the epochs."""
SHARE_OF_DROP, LEAST = 0.15, 0.002
"""Or the share of the whole drop, where it is slow, and the smallest fraction that counts."""
STEEP = 0.4
"""The same, from which a run is far too short."""
RISING = 0.1
"""Fraction of its minimum by which the validation loss must have risen."""
WIDE, NO_GAP, PERFECT = 0.05, 0.01, 0.95
"""Accuracies: a wide gap, no gap, and a training accuracy that cannot improve much."""
HUGE, HUGE_SHARE = 0.2, 0.8
"""Gaps of accuracies, and of losses as fractions of the validation loss, that are reported as a warning."""
WIDE_SHARE, NO_GAP_SHARE, UNEXPLAINED = 0.4, 0.05, 0.1
"""The same for losses, as fractions of the validation loss; and the unexplained fraction of the prior."""
SPIKE, ORDINARY, VISIBLE = 0.3, 5.0, 0.01
"""Height of a spike above its neighbours, as a multiple of them, of the median change, and of the first loss."""
RECOVERY = 3
"""Epochs within which the loss must return for a jump to count as a spike."""


def scatter(values: Array) -> float:
    """Standard deviation of single points around a smooth curve.

    From the median of second differences, which are zero on a straight line; the median ignores spikes.
    """
    if len(values) < 3:
        return 0.0
    second_differences = values[1:-1] - (values[:-2] + values[2:]) / 2
    return float(1.4826 * np.median(np.abs(second_differences)) / np.sqrt(1.5))


def epochs(first: int, last: int) -> str:
    """A range of epochs in words."""
    return f"epoch {first}" if first == last else f"epochs {first} to {last}"


def plateau(train_loss: Array) -> Finding | None:
    """The loss is flat at first, for at least 3 epochs and a tenth of all, and falls later."""
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
        "start-up-plateau", "warn", f"the training loss is flat at {smooth[:length].mean():.3g} before it falls",
        epochs(1, length), "use another initialisation, normalisation, or a higher rate with warmup",
    )  # fmt: skip


def still_falling(validation_loss: Array) -> Finding | None:
    """The validation loss still fell in the last quarter of the epochs, by more than its scatter."""
    if len(validation_loss) < MIN_EPOCHS:
        return None
    quarter = max(2, len(validation_loss) // 4)
    before = float(validation_loss[-2 * quarter : -quarter].mean())
    fall = before - float(validation_loss[-quarter:].mean())
    drop = float(validation_loss[0]) - float(validation_loss[-quarter:].mean())
    if fall < min(FALLING * before, SHARE_OF_DROP * drop) or fall < max(
        2 * scatter(validation_loss), LEAST * before
    ):
        return None
    last = len(validation_loss)
    return Finding(
        "still-falling", "warn" if fall > STEEP * before else "note", f"the validation loss is still falling, by {fall / before:.0%} in the last {quarter} epochs",
        epochs(last - quarter + 1, last), "train longer",
    )  # fmt: skip


def rising(validation_loss: Array) -> Finding | None:
    """The minimum of the validation loss is at least two epochs before the end, and the end is clearly above it."""
    if len(validation_loss) < MIN_EPOCHS:
        return None
    smooth = moving_average(validation_loss)
    lowest = int(smooth.argmin())
    end = float(np.median(validation_loss[-max(3, len(smooth) // 5) :]))  # a single bad epoch does not count
    rise = end - float(smooth[lowest])
    if len(smooth) - 1 - lowest < 2 or rise < RISING * smooth[lowest] or rise < 3 * scatter(validation_loss):
        return None
    return Finding(
        "validation-rising", "warn", f"the validation loss rises from {smooth[lowest]:.3g} to {end:.3g}",
        epochs(lowest + 1, len(smooth)), f"use early stopping (near epoch {lowest + 1}) or regularise",
    )  # fmt: skip


def accuracy_gap(train: Array, validation: Array, examples: int) -> Finding | None:
    """The gap between training and validation accuracy at the end: wide, or none though training is far from perfect.

    `examples`: the number of validation examples; a gap below three standard errors is not wide.
    """
    if min(len(train), len(validation)) < MIN_EPOCHS:
        return None
    last = max(2, len(train) // 5)
    train_end, validation_end = float(train[-last:].mean()), float(validation[-last:].mean())
    error = np.sqrt(max(validation_end * (1 - validation_end), 0.0) / examples)
    ends = f"training accuracy {train_end:.3g}, validation accuracy {validation_end:.3g}"
    where = epochs(len(train) - last + 1, len(train))
    gap = train_end - validation_end
    if gap > max(WIDE, 3 * error):
        return _wide(ends, where, "warn" if gap > HUGE else "note")
    return _none(ends, where) if gap < max(NO_GAP, error) and train_end < PERFECT else None


def loss_gap(train: Array, validation: Array, prior: float) -> Finding | None:
    """The gap between training and validation loss; `prior` is the loss of a model without inputs."""
    if min(len(train), len(validation)) < MIN_EPOCHS:
        return None
    last = max(2, len(train) // 5)
    train_end, validation_end = float(train[-last:].mean()), float(validation[-last:].mean())
    ends = f"training loss {train_end:.3g}, validation loss {validation_end:.3g}"
    where = epochs(len(train) - last + 1, len(train))
    gap = validation_end - train_end
    if gap > WIDE_SHARE * validation_end:
        return _wide(ends, where, "warn" if gap > HUGE_SHARE * validation_end else "note")
    return (
        _none(ends, where)
        if validation_end - train_end < NO_GAP_SHARE * validation_end and train_end > UNEXPLAINED * prior
        else None
    )


def _wide(ends: str, where: str, level: Level) -> Finding:
    advice = "regularise (weight decay, dropout, augmentation, label smoothing) or use more data"
    return Finding("wide-gap", level, f"wide generalisation gap: {ends}", where, advice)


def _none(ends: str, where: str) -> Finding:
    advice = "use a larger model or more epochs"
    return Finding("no-gap", "note", f"underfitting, no generalisation gap: {ends}", where, advice)


def spikes(train_loss: Array) -> Finding | None:
    """Jumps of the training loss that last at most a few epochs."""
    if len(train_loss) < MIN_EPOCHS:
        return None
    usual = float(np.median(np.abs(np.diff(train_loss))))
    spike_epochs = []
    for epoch_index in range(1, len(train_loss) - 1):
        neighbours = max(
            train_loss[epoch_index - 1], train_loss[epoch_index + 1 : epoch_index + 1 + RECOVERY].min()
        )
        height = train_loss[epoch_index] - neighbours
        if height > max(SPIKE * neighbours, ORDINARY * usual, VISIBLE * train_loss[0]):
            spike_epochs.append(epoch_index + 1)
    if not spike_epochs:
        return None
    which = ", ".join(str(epoch) for epoch in spike_epochs[:5]) + (", …" if len(spike_epochs) > 5 else "")
    return Finding(
        "spikes", "warn", f"the training loss has short spikes, {len(spike_epochs)} {noun(len(spike_epochs), 'time')}",
        f"{noun(len(spike_epochs), 'epoch')} {which}", "clip gradients, use warmup, or lower the rate",
    )  # fmt: skip
