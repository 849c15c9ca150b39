"""Faults of a loss function that its values on one batch show: a sum in place of a mean, and a sign that is wrong."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ablate.protocol.steps import Finding

EQUAL = 1e-3


def loss_findings(
    loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor, *, negative: bool
) -> list[Finding]:
    """`loss(outputs, targets)` of a batch `[B, …]` against that of its halves: a mean stays, a sum doubles.

    `negative`: whether values below zero are sound, as they are not where the loss is a cross-entropy or a distance.
    """
    half = len(outputs) // 2
    if not half:
        return []
    whole = loss(outputs[: 2 * half], targets[: 2 * half])
    if whole.ndim:
        return []
    value = float(whole)
    parts = [float(loss(outputs[i : i + half], targets[i : i + half])) for i in (0, half)]
    if abs(value - sum(parts)) < EQUAL * abs(value):
        return [
            Finding(
                "loss-summed", "fail",
                f"the loss grows with the batch: {value:.3g} for {2 * half} examples, {parts[0]:.3g} and {parts[1]:.3g} for their halves",
                "the loss function", 'return the mean over examples: reduction="mean", or .mean() in place of .sum()',
            )
        ]  # fmt: skip
    if value < 0 and not negative:
        return [
            Finding(
                "loss-negative", "fail", f"the loss of an untrained model is {value:.3g}: it falls without bound as the model gets worse",
                "the loss function", "check its sign",
            )
        ]  # fmt: skip
    return []
