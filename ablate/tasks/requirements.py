"""What a task does not have for tricks to act on, where its own loss or targets are the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ablate.tasks.task import Task


def lacking(task: Task) -> dict[str, str]:
    """Words of `records.trick.REQUIREMENTS` that `task` does not provide for a reason of its own -> that reason."""
    found: dict[str, str] = {}
    if task.loss is not None:
        plain = "the task has a loss of its own, which takes targets as they are"
        found |= {"classification": plain, "regression": plain}
        found["mixable"] = "the task has a loss of its own, and its targets may have no mean"
    elif task.criterion == "multilabel":
        found["classification"] = "an example may have several labels or none"
    elif task.dense:
        found["classification"] = "an example has a class at every token or pixel, and none as a whole"
        found["mixable"] = "the targets are classes of tokens or pixels, of which there are no means"
    if task.kind == "image" and task.train.y.ndim > 2:
        found["image"] = "the targets belong to places in the image, and would have to be moved with them"
    return found
