"""What a task's own loss or its targets rule out, of the requirements that tricks have."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ablate.tasks.split import Split
from ablate.tasks.streamed import Streamed

BALANCED = 1.25
"""Classes are balanced if the largest has less than this multiple of the smallest one's training examples."""


def lacking(
    criterion: str,
    kind: str,
    target_dims: int,
    discrete: str,
    *,
    custom_loss: bool,
    dense: bool,
    streams: bool,
    counts: Sequence[int] = (),
) -> dict[str, str]:
    """Words of `records.trick.REQUIREMENTS` that a task does not provide -> the reason.

    target_dims: dimensions of the targets y, batch included. discrete: the answer of `discrete_inputs`. dense: the targets are classes of tokens or pixels. streams: the training
    examples are read when they are needed. counts: training examples of each class of a classification.
    """  # fmt: skip
    reasons: dict[str, str] = {}
    if discrete:
        reasons["continuous"] = discrete
    if streams:
        reasons["any order"] = "the training examples are streamed, in the order in which they are read"
    if custom_loss:
        plain = "the task has a loss of its own, which takes targets as they are"
        reasons |= {"classification": plain, "regression": plain}
        reasons["mixable"] = "the task has a loss of its own, and its targets may have no mean"
    elif criterion == "adversarial":
        reasons["classification"] = "two networks train against each other: an example has no class"
        reasons["mixable"] = "a mixture of two real examples is not a real one"
    elif criterion == "detection":
        reasons["classification"] = "an example holds several objects or none"
        reasons["mixable"] = "the targets are boxes, which have no mean"
    elif criterion == "multilabel":
        reasons["classification"] = "an example may have several labels or none"
    elif dense:
        reasons["classification"] = "an example has a class at every token or pixel, and none as a whole"
        reasons["mixable"] = "the targets are classes of tokens or pixels, which have no mean"
    if not counts or "classification" in reasons:
        reasons["imbalanced classes"] = reasons.get("classification", "the task is not a classification")
    elif reason := balanced(counts):
        reasons["imbalanced classes"] = reason
    if kind == "image" and target_dims > 2:
        reasons["image"] = "the targets belong to positions in the image and would have to be moved with them"
    return reasons


def balanced(counts: Sequence[int]) -> str:
    """Why classes with so many training examples each need no balancing; empty where they do."""
    occurring = [count for count in counts if count]
    least, most = min(occurring), max(occurring)
    return (
        f"the classes are balanced: {least} to {most} training examples each"
        if most < BALANCED * least
        else ""
    )


def discrete_inputs(split: Split) -> str:
    """Why inputs cannot be mixed or perturbed: integers, booleans or (one of several inputs) only 0 and 1; empty if they can."""
    if split.packing is None:
        return (
            ""
            if split.x.is_floating_point()
            else "the inputs are not real numbers (token ids cannot be mixed or perturbed)"
        )
    x, start, names = split.x.head if isinstance(split.x, Streamed) else split.x[:1000], 0, []
    for leaf in split.packing.leaves:
        column = x[:, start : (start := start + prod(leaf.shape))]
        if not leaf.dtype.is_floating_point or bool(((column == 0) | (column == 1)).all()):
            names.append(leaf.title)
    return f"{' and '.join(names)}: token ids and masks cannot be mixed or perturbed" if names else ""
