"""From what a person types, `digits` or `my_task.py:task`, to a Task."""

from __future__ import annotations

from ablate.tasks.builtin import builtin
from ablate.tasks.task import Task


def load(name: str) -> Task:
    """The task of that name. Raises InputError."""
    return builtin(name)
