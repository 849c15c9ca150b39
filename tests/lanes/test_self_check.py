"""Before anything trains, two steps by the chosen kernel are held against a plain torch loop."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.kernels import stacked_lanes
from ablate.kernels.loop import Loop
from ablate.lanes.context import TaskContext
from ablate.lanes.self_check import self_checked
from ablate.records.errors import AblateError, InputError
from ablate.tasks.load import load
from ablate.tasks.task import Task

CPU = torch.device("cpu")


@pytest.fixture
def context() -> TaskContext:
    return TaskContext.of(load("breast-cancer"), registry(), CPU)


def test_a_kernel_that_trains_as_torch_does_is_kept(context: TaskContext) -> None:
    checked, why = self_checked(context)
    assert checked.kernel == context.kernel == "compiled"
    assert not why


def doubled(module: nn.Module, *inputs: Tensor, **settings: Any) -> Tensor:
    return 2 * REAL(module, *inputs, **settings)


REAL = stacked_lanes.stacked


def test_another_kernel_takes_over_and_it_is_said(
    context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacked_lanes, "stacked", doubled)
    checked, why = self_checked(context)
    assert checked.kernel == "vmap"
    assert why.count("\n") == 0
    assert "'compiled' does not train this model as torch would (loss)" in why


def test_a_loop_that_differs_asks_for_a_report(context: TaskContext, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Loop.__call__
    monkeypatch.setattr(Loop, "__call__", lambda self, *given: 1.01 * real(self, *given))
    with pytest.raises(AblateError, match="does not train this model as torch would") as raised:
        self_checked(context.with_kernel("loop"))
    assert "report" in (raised.value.hint or "")


def test_a_model_that_no_seed_repeats_is_refused() -> None:
    numbers = itertools.count()

    class Drifting(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (1 + next(numbers) % 7)

    known = load("breast-cancer")
    task = Task(lambda: Drifting(30, 2), (known.train.x, known.train.y), (known.validation.x, known.validation.y), False, name="drifting")  # fmt: skip
    context = TaskContext.of(task, registry(), CPU).with_kernel("loop")
    with pytest.raises(InputError, match="one seed and the same data differ"):
        self_checked(context)
