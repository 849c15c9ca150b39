"""What is seen of a model before it trains: state, hooks, layers of its own, and what is declined in a line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.lanes.context import TaskContext
from ablate.lanes.data import chunk_sizes
from ablate.lanes.side_effects import side_effects
from ablate.lanes.trainer import Trainer
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.surgery.net import trace
from ablate.surgery.torch_layers import is_torchs
from ablate.tasks.task import Task

X = torch.randn(48, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(48) % 3


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.body(x)))


class Remembering(Net):
    def forward(self, x: Tensor) -> Tensor:
        self.shape = x.shape
        return super().forward(x)


class Counting(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count = self.count + 1
        return super().forward(x)


class Writing(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(2))


class ByHand(Net):
    """Reads the body's weights, and calls the body too."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.head(F.linear(x, self.body.weight))


class Doubling(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def task_of(model: Callable[[], nn.Module], x: Tensor = X) -> Task:
    return Task(model, (x[:36], Y[:36]), (x[36:], Y[36:]), False, name="users", batch_size=12, epochs=1)


@pytest.mark.parametrize(
    ("model", "why", "writes", "resumable"),
    [
        (Net, "", False, True),
        (Remembering, "forward changes 'shape'", False, False),
        (Counting, "forward changes 'count'", False, True),
        (Writing, "", True, True),
    ],
)
def test_what_forward_does_beside_its_output(
    model: type[Net], why: str, writes: bool, resumable: bool
) -> None:
    found = side_effects(model(), X[:8])
    assert (found.solo, found.writes_input, found.resumable) == (why, writes, resumable)


@pytest.mark.parametrize("model", [Net, Counting, Writing])
def test_stored_data_stay_as_they_are(model: type[Net]) -> None:
    context = TaskContext.of(task_of(model), registry(), torch.device("cpu"))
    before = {name: split.x.clone() for name, split in context.splits.items()}
    recipe = {"momentum": {"lr": 0.1}, **({"fgsm": {}} if model is Writing else {})}
    trainer = Trainer(
        context,
        [Run("users", Recipe.of(registry(), recipe), seed, 1) for seed in range(1 if context.solo else 2)],
    )
    for _ in range(3):
        trainer.step()
    outputs = trainer.predict("validation")
    assert torch.equal(outputs, trainer.predict("validation"))  # every lane was given the data themselves
    assert all(torch.equal(split.x, before[name]) for name, split in context.splits.items())


def test_a_layer_whose_weight_other_code_reads_is_left_alone() -> None:
    assert [place.path for place in trace(Net(), X[:2])] == ["body", "norm", "head"]
    assert [place.path for place in trace(ByHand(), X[:2])] == ["norm", "head"]


def test_whose_forward_it_is() -> None:
    assert is_torchs(nn.Linear(2, 2), (nn.Linear,))
    assert is_torchs(type("Named", (nn.Linear,), {})(2, 2), (nn.Linear,))
    assert not is_torchs(Doubling(2, 2), (nn.Linear,))
    hooked, replaced, computed = (nn.Linear(2, 2) for _ in range(3))
    hooked.register_forward_pre_hook(lambda layer, inputs: None)
    replaced.forward = lambda x: x  # type: ignore[method-assign]
    nn.utils.parametrizations.weight_norm(computed)
    assert not any(is_torchs(layer, (nn.Linear,)) for layer in (hooked, replaced, computed))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: nn.Sequential(nn.LazyLinear(3)), "lazy layers"),
        (lambda: Net().double(), "'body.weight' is float64"),
    ],
)
def test_what_cannot_be_trained_faithfully_is_declined(model: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TaskContext.of(task_of(model), registry(), torch.device("cpu"))


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(513, 512, [513]), (129, 64, [64, 65]), (130, 64, [64, 64, 2]), (1, 64, [1]), (128, 64, [64, 64])],
)
def test_no_chunk_is_a_single_example(count: int, size: int, sizes: list[int]) -> None:
    assert chunk_sizes(count, size) == sizes
