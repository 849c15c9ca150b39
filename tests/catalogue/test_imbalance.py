"""Criteria and samplers for unequal classes are not applicable where classes are equal."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ablate.catalogue.registry import registry
from ablate.lanes.applicable import applicable
from ablate.lanes.context import TaskContext
from ablate.tasks.task import Task

FOR_UNEQUAL = ("class_balanced", "logit_adjustment", "ldam", "balanced_sampling")


def reasons(counts: list[int]) -> dict[str, str]:
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    x = torch.randn(len(y), 3, generator=torch.Generator().manual_seed(0))
    task = Task(lambda: nn.Linear(3, len(counts)), (x, y), (x, y), test=False)
    return applicable(TaskContext.of(task, registry(), torch.device("cpu")), [*FOR_UNEQUAL, "focal"])


def test_balanced_classes_leave_nothing_to_balance() -> None:
    why_not = reasons([20, 24, 22])
    for trick in FOR_UNEQUAL:
        assert why_not[trick] == "the classes are balanced: 20 to 24 training examples each"
    assert not why_not["focal"]


@pytest.mark.parametrize("counts", [[20, 25], [5, 100, 30]])
def test_unequal_classes_are_what_they_are_for(counts: list[int]) -> None:
    assert not any(reasons(counts).values())
