"""Faults that the outputs of an untrained model show: probabilities or rectified values where logits or numbers belong."""

from __future__ import annotations

from torch import Tensor

from ablate.protocol.steps import Finding

TOLERANCE = 1e-4
SMALLEST = 1e-3
"""Outputs of which none is larger are suspected, unless all are zero, as a head of zeros makes them."""
OUTSIDE = 0.05
"""Share of targets below 0 or above 1 that no sigmoid reaches."""
ZEROS = 0.02
"""Share of outputs that are exactly zero from which a rectifier is suspected."""


def output_findings(outputs: Tensor, classes: int | None) -> list[Finding]:
    """`outputs` `[N, C or D]` of an untrained model; `classes`: None for regression.

    Logits have either sign. Softmax gives rows that sum to one, a sigmoid values between 0 and 1, a rectifier values that
    are not negative, many of them exactly zero. (Log-softmax does no harm: cross-entropy applies it again.)
    """
    values = outputs.detach().double()
    if 0 < float(values.abs().max()) < SMALLEST:
        return [
            Finding(
                "outputs-tiny", "warn", f"the largest output is {float(values.abs().max()):.1g}: gradients are as small",
                "the model's last layer", "take out the factor, or make the last layer's initial weights larger",
            )
        ]  # fmt: skip
    if not values.isfinite().all() or bool((values < 0).any()) or not bool((values > 0).any()):
        return []
    if classes is not None and are_probabilities(values):
        return [
            Finding(
                "outputs-are-probabilities", "warn",
                "the outputs are not negative and sum to one: a softmax precedes the cross-entropy, which applies it again",
                "the model's last layer", "return logits, without softmax",
            )
        ]  # fmt: skip
    if float((values == 0).double().mean()) >= ZEROS:
        return [
            Finding(
                "outputs-rectified", "warn", "no output is negative, and many are exactly zero: the last layer is rectified",
                "the model's last layer", "end with a linear layer, without an activation",
            )
        ]  # fmt: skip
    if (
        classes is not None
        and classes > 1
        and bool((values < 1).all())
        and len(values) * values.shape[1] >= 20
    ):
        return [
            Finding(
                "outputs-squashed", "warn", "all outputs lie between 0 and 1: a sigmoid precedes the cross-entropy",
                "the model's last layer", "return logits, without an activation",
            )
        ]  # fmt: skip
    return []


def are_probabilities(outputs: Tensor) -> bool:
    """Whether `outputs` `[N, C]` of several classes are not negative and sum to one."""
    if outputs.ndim != 2 or outputs.shape[1] < 2 or bool((outputs < 0).any()):
        return False
    return bool(((outputs.double().sum(1) - 1).abs() < TOLERANCE).all())


def softmax_over_batch(outputs: Tensor) -> bool:
    """Whether every column of `outputs` `[N, C]`, or of their exponentials, sums to one over the examples, and the rows do not."""
    if outputs.ndim != 2 or len(outputs) < 2 or not bool(outputs.isfinite().all()):
        return False
    values = outputs.detach().double()
    shares = [values.exp(), values] if not bool((values < 0).any()) else [values.exp()]
    return any(
        bool(((share.sum(0) - 1).abs() < TOLERANCE).all())
        and not bool(((share.sum(1) - 1).abs() < TOLERANCE).all())
        for share in shares
    )


def squashed_numbers(outputs: Tensor, targets: Tensor) -> list[Finding]:
    """Numbers `[N, D]` that all lie between 0 and 1, where the targets do not: a sigmoid ends the model."""
    values, y = outputs.detach().double(), targets.double()
    inside = bool(((values > 0) & (values < 1)).all())
    outside = bool((y < 0).double().mean() > OUTSIDE) or bool((y > 1).double().mean() > OUTSIDE)
    if not inside or not outside:
        return []
    return [
        Finding(
            "outputs-squashed", "warn", "all outputs lie between 0 and 1, and the targets do not: a sigmoid ends the model",
            "the model's last layer", "end with a linear layer, without an activation",
        )
    ]  # fmt: skip
