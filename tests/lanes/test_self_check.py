"""Before anything trains, two steps by the chosen kernel are held against a plain torch loop."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.kernels import stacked_lanes
from ablate.kernels.loop import Loop
from ablate.lanes.context import TaskContext
from ablate.lanes.self_check import (
    beyond_rounding,
    changed_by_rounding,
    first_difference,
    plain,
    self_checked,
)
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
    class Drifting(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (1 + os.urandom(1)[0])

    known = load("breast-cancer")
    task = Task(lambda: Drifting(30, 2), (known.train.x, known.train.y), (known.validation.x, known.validation.y), False, name="drifting")  # fmt: skip
    context = TaskContext.of(task, registry(), CPU).with_kernel("loop")
    with pytest.raises(InputError, match="one seed and the same data differ"):
        self_checked(context)


def test_sparse_gradients_train_as_dense_ones_do() -> None:
    def model() -> nn.Module:
        return nn.Sequential(nn.EmbeddingBag(9, 6, mode="sum", sparse=True), nn.Linear(6, 2))

    draw = torch.Generator().manual_seed(0)
    x, y = torch.randint(0, 9, (40, 5), generator=draw), torch.randint(0, 2, (40,), generator=draw)
    context = TaskContext.of(Task(model, (x, y), (x, y), False, kind="text", name="bags", batch_size=8), registry(), CPU)  # fmt: skip
    assert self_checked(context)[0].kernel == "loop"


def test_a_result_is_no_farther_off_than_rounding_moves_it() -> None:
    """A rectifier that rounding switches changes a gradient by much more than rounding."""
    name = "change of parameter 'weight'"
    expected = {name: torch.tensor([1.0, 2.0]), "loss": torch.tensor([0.5])}
    nudged = [{**expected, name: torch.tensor([1.0, 2.0 + far])} for far in (0.0, 0.01)]
    near = {**expected, name: torch.tensor([1.03, 2.0])}
    assert first_difference(near, expected)
    assert not first_difference(beyond_rounding(near, expected, nudged), expected)
    far = {**expected, name: torch.tensor([1.05, 2.0])}
    assert first_difference(beyond_rounding(far, expected, nudged), expected) == name
    lost = {**expected, name: None}
    assert first_difference(beyond_rounding(lost, expected, nudged), expected) == name


def test_weights_that_differ_by_rounding_train_alike(context: TaskContext) -> None:
    expected = plain(context, 0)
    for nudged in changed_by_rounding(context, [0], [expected])[0]:
        assert any(not torch.equal(nudged[name], expected[name]) for name in expected)
        assert not first_difference(nudged, expected)
