"""The built-in tasks as plain records, so that they can be listed without torch, data or time."""

from __future__ import annotations

from dataclasses import dataclass

from ablate.tasks.metric_table import Criterion


@dataclass(frozen=True, slots=True)
class TaskCard:
    """What is known of a built-in task before it is loaded.

    needs: a file under `$ABLATE_DATA`, or "" where the data comes with scikit-learn.
    openml: name and version on openml.org, or None where it cannot be fetched.
    """

    name: str
    title: str
    criterion: Criterion
    kind: str
    metric: str
    source: str
    needs: str = ""
    openml: tuple[str, int] | None = None


_ACCURACY = "validation/accuracy"
DEFAULT_TASK = "digits"
CARDS: dict[str, TaskCard] = {
    card.name: card
    for card in (
        TaskCard(
            "digits", "Handwritten digits, 8×8 pixels", "classification", "image", _ACCURACY,
            "scikit-learn load_digits: UCI Optical Recognition of Handwritten Digits, 1,797 images",
        ),
    )
}  # fmt: skip
