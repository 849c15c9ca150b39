"""The self-check finds faults that are planted in a kernel or in the engine: forward, backward, buffer, mask, parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.kernels import stacked_lanes
from ablate.kernels.stacked_lanes import Stacked
from ablate.lanes import trainer
from ablate.lanes.context import TaskContext
from ablate.lanes.self_check import self_checked
from ablate.records.errors import AblateError
from ablate.surgery.layers import RandomLayer
from ablate.tasks.task import Task

Run = Callable[..., Tensor]


class Net(nn.Module):
    """Everything that can go wrong in two steps: a frozen layer, one without gradient, a norm, a dropout that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.unused = nn.Linear(8, 16), nn.Linear(3, 3)
        self.norm, self.drop, self.head = nn.BatchNorm1d(16), nn.Dropout(0.4), nn.Linear(16, 3)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(torch.relu(self.norm(self.drop(self.frozen(x))))))


@pytest.fixture(scope="module")
def context() -> TaskContext:
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(96, 8, generator=draw), torch.randint(3, (96,), generator=draw)
    task = Task(Net, (x[:64], y[:64]), (x[64:], y[64:]), False, name="net", batch_size=32)
    return TaskContext.of(task, registry(), torch.device("cpu"))


class WrongGradient(torch.autograd.Function):
    """The identity with a gradient that is one percent too large."""

    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        return y.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 1.01 * gradient


def forward_fault(run: Run) -> Run:
    return lambda *given, **settings: 1.01 * run(*given, **settings)


def backward_fault(run: Run) -> Run:
    return lambda *given, **settings: WrongGradient.apply(run(*given, **settings))


def buffer_fault(run: Run) -> Run:
    """The running mean moves, but not far enough."""

    def faulty(module: nn.Module, *inputs: Tensor) -> Tensor:
        means = [buffer for name, buffer in module.named_buffers() if name.endswith("running_mean")]
        before = [mean.clone() for mean in means]
        y = run(module, *inputs)
        for mean, old in zip(means, before, strict=True):
            mean.copy_(old + 0.99 * (mean - old))
        return y

    return faulty


IN_A_KERNEL = {"forward": forward_fault, "backward": backward_fault, "buffer": buffer_fault}


def test_without_a_fault_every_kernel_passes(context: TaskContext) -> None:
    for kernel in ("compiled", "batched", "vmap", "loop"):
        checked, why = self_checked(context.with_kernel(kernel))
        assert (checked.kernel, why) == (kernel, "")


@pytest.mark.parametrize("kernel", ["compiled", "batched"])
@pytest.mark.parametrize("fault", IN_A_KERNEL)
def test_a_fault_of_a_kernel_is_found(
    context: TaskContext, fault: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacked_lanes, "stacked", IN_A_KERNEL[fault](stacked_lanes.stacked))
    checked, why = self_checked(context.with_kernel(kernel))
    assert checked.kernel in ("vmap", "loop")
    assert f"the kernel '{kernel}' does not train this model as torch would" in why


def test_a_fault_in_the_numbers_of_dropout_is_found(
    context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call of one layer draws the same mask."""
    monkeypatch.setattr(RandomLayer, "draw_key", lambda layer: layer.key)
    with pytest.raises(AblateError, match="does not train this model as torch would"):
        self_checked(context)


def test_a_frozen_parameter_that_decays_is_found(
    context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stacked, "frozen", lambda forward: frozenset())
    checked, why = self_checked(context.with_kernel("compiled"))
    assert checked.kernel == "loop"
    assert "the kernel 'compiled' does not train this model as torch would" in why


def test_a_zero_gradient_in_place_of_none_is_found(
    context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.LaneParameters, "_absent", lambda *given: None)
    with pytest.raises(AblateError, match="does not train this model as torch would"):
        self_checked(context)
