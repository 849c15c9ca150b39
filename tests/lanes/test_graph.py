"""A step that can be replayed: its state stays in its tensors, its results are those of the ordinary step.

The capture itself needs a CUDA device (`test_captured_…`, skipped without one).
"""

from __future__ import annotations

import sys
from collections import deque
from types import FrameType
from typing import Any

import pytest
import torch
from sweep import diagonal
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ablate.catalogue.registry import registry
from ablate.kernels.rules import norms
from ablate.lanes.context import TaskContext
from ablate.lanes.cuda_graph import StaticStep, prepare
from ablate.lanes.trainer import Trainer
from ablate.testing import Suite, suite, variants

WAITS = ("_local_scalar_dense", "nonzero", "equal")
"""Operations that wait for the device, and so cannot stand in a graph."""
ON_A_CPU = "seams/draws.py"
"""May ask for numbers, because it does so on a CPU alone."""
RESTS = "critic_steps"
"""Leaves the generator without a gradient in some steps."""
UNREACHED = ("remove_norm", RESTS)
"""Leave parameters of the model without a gradient in all lanes: the optimizer is divided in the first step, which no graph can
hold. Such a group trains eagerly and says why."""
NO_GRADIENT = "some parameters have no gradient in some steps"


KERNELS = ("vmap", "batched", "compiled")


def trainers(checks: Suite, name: str, count: int = 2, kernel: str = "vmap") -> list[Trainer]:
    context = checks.where(name)[0].with_kernel(kernel)
    runs = [
        checks.run(context, tricks, seed) for seed, tricks in enumerate(variants(context.catalogue[name]))
    ]
    return [Trainer(context, runs) for _ in range(count)]


@pytest.mark.parametrize(("name", "kernel"), diagonal(list(registry()), KERNELS, 0))
def test_a_settled_step_is_the_ordinary_step_in_the_same_tensors(name: str, kernel: str):
    plain, held = trainers(suite(), name, kernel=kernel)
    held.graph = StaticStep(held)
    if name in UNREACHED:
        with pytest.raises(RuntimeError, match=NO_GRADIENT):
            deque((held.step() for _ in range(7)), maxlen=0)
        return
    places = {key: tensor.data_ptr() for key, tensor in held.state().items()}
    for _ in range(7):
        loss, right = plain.step()
        outcome = held.step()
        assert torch.equal(outcome[0], loss)
        assert torch.equal(outcome[1], right)
    assert {key: tensor.data_ptr() for key, tensor in held.state().items()} == places
    state = held.state()
    for key, tensor in plain.state().items():
        assert torch.equal(tensor, state[key]), key


class Watched(TorchDispatchMode):
    """Notes where in ablate an operation waits for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name.removeprefix("aten::") in WAITS:
            self.found.add(self.where(sys._getframe(1)))
        return func(*args, **(kwargs or {}))

    @staticmethod
    def where(frame: FrameType | None) -> str:
        while frame is not None:
            file = frame.f_code.co_filename.replace("\\", "/")
            if "/ablate/" in file:
                return f"{file.rpartition('/ablate/')[2]}:{frame.f_lineno}"
            frame = frame.f_back
        return "outside"


@pytest.mark.parametrize(("name", "kernel"), diagonal(list(registry()), KERNELS, 1))
def test_nothing_in_a_step_waits_for_the_device(name: str, kernel: str):
    (trainer,) = trainers(suite(), name, 1, kernel)
    trainer.step()
    index = trainer.index()
    with Watched() as watched:
        trainer.train_on(index)
    places = {place for place in watched.found if not place.startswith(ON_A_CPU)}
    if name in UNREACHED:  # nothing but the question which parts of the optimizer have a gradient
        files = {place.partition(":")[0] for place in places}
        assert "lanes/optimizer_parts.py" in files if name == RESTS else files == {"lanes/optimizer_parts.py"}
    else:
        assert places == set()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["batch_norm", "group_norm", "layer_norm", "instance_norm"])
def test_torchs_own_norms_do_not_wait_either(name: str, kernel: str, monkeypatch: pytest.MonkeyPatch):
    """Large layers are left to them, which take their settings as plain numbers."""
    monkeypatch.setattr(norms, "SMALL", -1)
    test_nothing_in_a_step_waits_for_the_device(name, kernel)


def test_a_step_that_waits_is_noticed():
    (trainer,) = trainers(suite(), "placebo", 1)
    trainer.step()  # the first one works out what the others need
    with Watched() as watched:
        assert float(trainer.step()[0].sum()) > 0
    assert watched.found == {"outside"}


def test_lanes_taken_out_need_a_graph_of_their_own():
    (trainer,) = trainers(suite(), "momentum", 1)
    trainer.graph = StaticStep(trainer)
    trainer.take(torch.tensor([1]))
    assert trainer.graph is None


def test_a_cpu_has_no_graph():
    (trainer,) = trainers(suite(), "momentum", 1)
    prepare(trainer)
    assert trainer.graph is None
    assert not trainer.eager


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", list(registry()))
def test_captured_steps_are_the_eager_ones(name: str):
    checks, cuda = suite(), torch.device("cuda")
    context = TaskContext.of(checks.where(name)[0].task, checks.catalogue, cuda)
    runs = [
        checks.run(context, tricks, seed) for seed, tricks in enumerate(variants(context.catalogue[name]))
    ]
    eager, captured = Trainer(context, runs), Trainer(context, runs)
    prepare(captured)
    if name in UNREACHED:
        assert captured.graph is None
        assert captured.eager == NO_GRADIENT
    else:
        assert captured.graph is not None, captured.eager
    losses: list[list[Tensor]] = [[], []]
    for _ in range(10):
        for row, trainer in zip(losses, (eager, captured), strict=True):
            row.append(trainer.step()[0])
    torch.testing.assert_close(torch.stack(losses[1]), torch.stack(losses[0]), rtol=1e-4, atol=1e-5)
