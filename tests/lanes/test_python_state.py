"""State in Python objects is found wherever a model's code keeps it: the run-time check of two steps does not see a schedule that
turns later."""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.lanes.build import build_module
from ablate.lanes.context import TaskContext
from ablate.lanes.order import Order
from ablate.lanes.python_state import changed, outside, state_of
from ablate.lanes.side_effects import side_effects
from ablate.lanes.trainer import Trainer
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.seams.draws import seed_keys
from ablate.tasks.task import Task

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 3
LATE = 15
"""Calls after which the models' outputs change."""


class Schedule:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        return self.calls


class Slotted:
    __slots__ = ("calls",)
    __init__, __call__ = Schedule.__init__, Schedule.__call__


def closure() -> Callable[[], int]:
    calls = 0

    def call() -> int:
        nonlocal calls
        calls += 1
        return calls

    return call


def drawn(source: np.random.RandomState) -> int:
    return source.randint(1, 3)


def iterated(numbers: Iterator[int]) -> Callable[[], int]:
    return partial(next, numbers)


COUNTERS: dict[str, Callable[[], Callable[[], int]]] = {
    "an object that is called": Schedule,
    "its method": lambda: Schedule().__call__,
    "an object with slots": Slotted,
    "a closure": closure,
    "count": lambda: iterated(itertools.count()),
    "an iterator of a list": lambda: iterated(iter(list(range(999)))),
    "cycle": lambda: iterated(itertools.cycle([1, 2])),
    "a generator": lambda: iterated(number for number in range(999)),
    "NumPy's former generator": lambda: partial(drawn, np.random.RandomState(0)),
    "a deep object": lambda: types.SimpleNamespace(inner=[Schedule()]).inner[0],
}


class Net(nn.Module):
    """Its output is another one after `LATE` calls of what it holds."""

    def __init__(self, counter: Callable[[], int]) -> None:
        super().__init__()
        self.layer, self.counter = nn.Linear(6, 3), counter

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * (1.0 if self.counter() < LATE else 0.5)


@pytest.mark.parametrize("name", COUNTERS)
def test_state_of_the_model_keeps_its_lanes_apart(name: str) -> None:
    effects = side_effects(Net(COUNTERS[name]()), X[:8])
    assert effects.solo.endswith(" changes 'counter'")
    assert not effects.resumable


@pytest.mark.parametrize(
    "held", [torch.tanh, nn.ReLU(), [1, {"a": (2.0, None)}], partial(torch.relu), object(), {3, 4}]
)
def test_what_does_not_change_keeps_lanes_together(held: Any) -> None:
    net = nn.Linear(6, 3)
    net.held = held
    assert side_effects(net, X[:8]).solo == ""
    assert not changed({"": tuple(state_of(held))}, {"": tuple(state_of(held))})


COUNT = {"calls": 0}
COUNTING = Schedule()
NOTES = types.SimpleNamespace(calls=0)
MASKS: dict[int, Tensor] = {}
total = 0


def counted_in_a_function() -> None:
    COUNT["calls"] += 1


class ByFunction(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        counted_in_a_function()
        return super().forward(x)


class ByObject(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        COUNTING()
        return super().forward(x)


class ByNamespace(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        NOTES.calls += 1
        return super().forward(x)


class ByName(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        global total
        total += 1
        return super().forward(x)


LEARNER = nn.BatchNorm1d(6)


class ByLayer(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(LEARNER(x))


class OfItsClass(nn.Linear):
    calls = 0

    def train(self, mode: bool = True) -> OfItsClass:
        type(self).calls += 1
        return super().train(mode)


TEACHER = nn.Linear(6, 3)


class Cached(nn.Linear):
    """Reads a global layer too, and fills a cache."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + TEACHER(x).detach() + MASKS.setdefault(len(x), torch.ones(len(x), 1))


def task_of(model: Callable[[], nn.Module]) -> Task:
    return Task(model, (X, Y), (X, Y), False, name="states", batch_size=8, epochs=1)


def context_of(model: Callable[[], nn.Module]) -> TaskContext:
    return TaskContext.of(task_of(model), registry(), torch.device("cpu"))


MASKS_SEEN: list[Tensor] = []
LOSSES_SEEN: dict[int, float] = {}


class Logs(nn.Linear):
    """Notes what it computes, as people do to look at it afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        MASKS_SEEN.append(y > 0)
        LOSSES_SEEN[len(x)] = float(y.detach().sum())
        return y


class ReadsItsLog(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        MASKS_SEEN.append(x > 0)
        return super().forward(x) * (1.0 if len(MASKS_SEEN) < 1000 else 2.0)


def test_a_log_that_code_only_adds_to_is_no_state() -> None:
    """Its lanes run one at a time, so that it holds what each computed."""
    context = context_of(lambda: Logs(6, 3))
    assert "MASKS_SEEN" in context.solo
    MASKS_SEEN.clear()
    Trainer(context, [Run("states", Recipe.of(registry(), {"sgd": {"lr": 0.1}}), 0, 1)]).step()
    assert MASKS_SEEN[-1].shape == (8, 3)


def test_a_log_that_is_read_is_state() -> None:
    with pytest.raises(
        InputError, match=r"changes 'MASKS_SEEN' in ReadsItsLog.forward, outside of the model"
    ):
        context_of(lambda: ReadsItsLog(6, 3))


@pytest.mark.parametrize(
    "dtype",
    [
        torch.bool,
        torch.uint8,
        torch.uint16,
        torch.int64,
        torch.bfloat16,
        torch.float8_e4m3fn,
        torch.complex64,
    ],
)
def test_a_write_to_data_is_seen_in_every_type(dtype: torch.dtype) -> None:
    tensor = torch.zeros(3).to(dtype)
    before = {"it": tuple(state_of(tensor))}
    tensor.data = torch.ones(3).to(dtype)
    assert changed(before, {"it": tuple(state_of(tensor))}) == ["it"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ByFunction, "COUNT"), (ByObject, "COUNTING"), (ByNamespace, "NOTES"), (ByName, "total"),
        (ByLayer, "LEARNER"), (OfItsClass, "calls"),
    ],
)  # fmt: skip
def test_state_outside_of_the_model_is_refused(kind: type[nn.Linear], name: str) -> None:
    with pytest.raises(InputError, match=f"changes '{name}' (in|of) .*, outside of the model"):
        context_of(lambda: kind(6, 3))


def test_a_cache_is_no_state() -> None:
    assert context_of(lambda: Cached(6, 3)).solo == ""
    assert "'MASKS' in Cached.forward" in outside(Cached(6, 3))


SHARED = nn.Linear(6, 6)
NORM = nn.BatchNorm1d(6, affine=False)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (lambda: nn.Sequential(SHARED, nn.Linear(6, 3)), "0.weight"),
        (lambda: nn.Sequential(NORM, nn.Linear(6, 3)), "0.num_batches_tracked"),
        (partial(lambda schedule: Net(schedule), Schedule()), "counter"),
    ],
)
def test_models_that_share_what_training_changes_are_refused(
    model: Callable[[], nn.Module], name: str
) -> None:
    with pytest.raises(InputError, match=f"share '{name}'"):
        context_of(model)


class Centred(nn.Module):
    """A loss with a running centre, as self-distillation has it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(3))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses = nn.functional.cross_entropy(outputs - self.centre, targets)
        self.centre = 0.9 * self.centre + 0.1 * outputs.detach().mean(0)
        return losses


class Annealed(Schedule):
    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weight = 1.0 if super().__call__() < LATE else 0.1
        return weight * nn.functional.cross_entropy(outputs, targets)


def counted(outputs: Tensor, targets: Tensor) -> Tensor:
    counted_in_a_function()
    return nn.functional.cross_entropy(outputs, targets)


@pytest.mark.parametrize("loss", [Centred(), Annealed(), counted, partial(Annealed().__call__)])
def test_a_loss_that_keeps_state_is_refused(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    task = Task(lambda: nn.Linear(6, 3), (X, Y), (X, Y), False, "classification", name="loss", loss=loss)
    with pytest.raises(InputError, match="which all runs would share"):
        TaskContext.of(task, registry(), torch.device("cpu"))


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(label_smoothing=0.1), nn.functional.cross_entropy])
def test_a_loss_without_state_is_not(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    task = Task(lambda: nn.Linear(6, 3), (X, Y), (X, Y), False, "classification", name="loss", loss=loss)
    assert TaskContext.of(task, registry(), torch.device("cpu")).solo == ""


def test_models_may_share_a_frozen_body() -> None:
    body = nn.Linear(6, 6).requires_grad_(False)
    assert context_of(lambda: nn.Sequential(body, nn.Linear(6, 3))).solo == ""


@pytest.mark.parametrize("name", COUNTERS)
def test_each_run_trains_by_its_own_state(name: str) -> None:
    """Two runs in the loop kernel, one of which is longer, against a plain torch loop."""
    context = context_of(lambda: Net(COUNTERS[name]()))
    runs = [Run("states", Recipe.of(registry(), {"sgd": {"lr": 0.1}}), seed, 5) for seed in (0, 1)]
    for run in runs:
        trainer = Trainer(context, [run])
        losses = [trainer.step()[0].item() for _ in range(25)]
        model, order = build_module(context.task.model, run.seed, X[:2]), Order(len(X), 8)
        optimizer, expected = torch.optim.SGD(model.parameters(), 0.1), []
        model.train()
        for step in range(25):
            if step % 5 == 0:
                order.shuffle(seed_keys([run.seed], torch.device("cpu")), torch.tensor([step // 5]))
            index = order.at(step % 5)[0]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(X[index]), Y[index])
            loss.backward()
            optimizer.step()
            expected.append(loss.item())
        assert losses == pytest.approx(expected, rel=1e-5)
        assert isinstance(trainer.model(0), Net)
