"""What is seen of a model before it trains: state, hooks, layers of its own, and what is declined in a line."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ablate.catalogue.registry import registry
from ablate.kernels.tracing import program_of
from ablate.lanes.applicable import applicable
from ablate.lanes.build import build_module
from ablate.lanes.context import TaskContext
from ablate.lanes.data import chunk_sizes
from ablate.lanes.self_check import self_checked
from ablate.lanes.side_effects import repeated_in_backward, side_effects
from ablate.lanes.trainer import Trainer
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.surgery.observe import observe
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


class Complex(nn.Linear):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(inside, outside)
        self.turn = nn.Parameter(torch.ones(outside, dtype=torch.complex64))


class HeadOnly(Net):
    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        return self.head.parameters(recurse)


class NormInEvaluation(Net):
    def forward(self, x: Tensor) -> Tensor:
        self.norm.eval()
        return super().forward(x)


class Drawing(Net):
    """Noise from a generator of its own."""

    def __init__(self, draw: Any) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, x: Tensor) -> Tensor:
        number = (
            torch.rand((), generator=self.draw)
            if isinstance(self.draw, torch.Generator)
            else self.draw.random()
        )
        return super().forward(x + float(number))


class CountingInArray(Net):
    def __init__(self) -> None:
        super().__init__()
        self.calls = np.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's: it is deprecated
        return torch.jit.script(nn.Sequential(nn.Linear(6, 3)))  # type: ignore[no-any-return]


def task_of(model: Callable[[], nn.Module], x: Tensor = X) -> Task:
    return Task(model, (x[:36], Y[:36]), (x[36:], Y[36:]), False, name="users", batch_size=12, epochs=1)


@pytest.mark.parametrize(
    ("model", "why", "writes", "resumable"),
    [
        (Net, "", False, True),
        (Remembering, "forward changes 'shape'", False, False),
        (Counting, "forward changes 'count'", False, True),
        (Writing, "", True, True),
        (NormInEvaluation, "forward changes the mode of a layer", False, True),
        (lambda: Drawing(torch.Generator()), "forward changes 'draw'", False, False),
        (lambda: Drawing(np.random.default_rng(0)), "forward changes 'draw'", False, False),
        (lambda: Drawing(random.Random(0)), "forward changes 'draw'", False, False),
        (CountingInArray, "forward changes 'calls'", False, False),
    ],
)
def test_what_forward_does_beside_its_output(
    model: Callable[[], Net], why: str, writes: bool, resumable: bool
) -> None:
    effects = side_effects(model(), X[:8])
    assert (effects.solo, effects.writes_input, effects.resumable) == (why, writes, resumable)


class DrawingInEvaluation(Net):
    """Its dropout stays on (Monte Carlo dropout)."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def train(self, mode: bool = True) -> DrawingInEvaluation:
        super().train(mode)
        self.drop.train()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.drop(x))


@pytest.mark.parametrize("model", [Writing, DrawingInEvaluation])
def test_two_lanes_of_every_kernel_train_and_predict_alike(model: type[Net]) -> None:
    context = TaskContext.of(task_of(model), registry(), torch.device("cpu"))
    recipe = Recipe.of(registry(), {"sgd": {"lr": 0.1}})
    outcomes = []
    for kernel in ("loop", "batched", "vmap"):
        trainer = Trainer(context.with_kernel(kernel), [Run("users", recipe, seed, 1) for seed in (0, 1)])
        losses = torch.stack([trainer.step()[0] for _ in range(2)])
        outcomes.append((losses, trainer.predict("validation")))
    for each in outcomes[1:]:
        torch.testing.assert_close(each, outcomes[0])


class Recomputing(Net):
    """Its dropout is called twice, in a part that the backward pass computes again."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.once = nn.Dropout(0.5), nn.Dropout(0.5)

    def inner(self, x: Tensor) -> Tensor:
        return self.drop(self.drop(x))

    def forward(self, x: Tensor) -> Tensor:
        y = checkpoint(self.inner, self.body(x), use_reentrant=False)
        return self.head(checkpoint(self.once, y, use_reentrant=False))


def test_which_dropout_layers_the_backward_pass_repeats() -> None:
    assert repeated_in_backward(Recomputing(), X[:8]) == {"drop"}
    assert repeated_in_backward(Net(), X[:8]) == set()


def test_a_trace_leaves_the_tensors_that_forward_writes_as_they_were() -> None:
    class InPlace(Counting):
        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            return self.head(self.body(x))

    module = InPlace()
    assert program_of(module) is None
    assert module.count == 0


class Averaging(Counting):
    def forward(self, x: Tensor) -> Tensor:
        self.count = self.count + 1
        return self.head(self.body(x)) * self.count


class OfAPart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = Counting()

    def forward(self, x: Tensor) -> Tensor:
        self.part.count = 0.9 * self.part.count
        return self.part.head(self.part.body(x))


@pytest.mark.parametrize("model", [Averaging, OfAPart])
def test_what_forward_assigns_is_not_lost_in_a_trace(model: type[nn.Module]) -> None:
    module = model()
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    assert program_of(module) is None
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())


def test_lazy_layers_get_their_sizes_from_a_batch() -> None:
    def lazy() -> nn.Module:
        return nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.Dropout(), nn.LazyLinear(3))

    module = build_module(lazy, 3, X[:2])
    assert module.training
    assert [tuple(p.shape) for p in module.parameters()] == [(8, 6), (8,), (8,), (8,), (3, 8), (3,)]
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), build_module(lazy, 3, X[:2]).parameters(), strict=True))  # fmt: skip
    assert module[1].num_batches_tracked == 0
    checked, why = self_checked(TaskContext.of(task_of(lazy), registry(), torch.device("cpu")))
    assert not why
    assert not checked.solo


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
    assert [place.path for place in observe(Net(), X[:2]).layer_infos] == ["body", "norm", "head"]
    assert [place.path for place in observe(ByHand(), X[:2]).layer_infos] == ["norm", "head"]


def test_a_layer_called_for_single_examples_is_left_alone() -> None:
    """torch.func calls it without a batch, which no norm could take."""

    class Sloped(Net):
        def forward(self, x: Tensor) -> Tensor:
            slope = torch.func.vmap(torch.func.grad(lambda row: self.body(row).tanh().sum()))(x)
            return super().forward(x + slope)

    context = TaskContext.of(task_of(Sloped), registry(), torch.device("cpu"))
    assert [info.path for info in context.layer_infos] == ["norm", "head"]
    assert applicable(context, ["weight_norm"])["weight_norm"]
    recipe = Recipe.of(registry(), {"sgd": {"lr": 0.1}, "batch_norm": {}})
    assert Trainer(context, [Run("users", recipe, 0, 1)]).step()[0].isfinite().all()


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
        (lambda: Net().double(), "'body.weight' is float64"),
        (lambda: Net().bfloat16(), "'body.weight' is bfloat16"),
        (lambda: Complex(6, 3), "'turn' is complex64"),
        (scripted, "torch.jit"),
        (HeadOnly, "parameters\\(\\) leaves out 'body.weight'"),
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


def test_a_setting_that_the_model_has_already_trains_as_the_model_does():
    """A ranking may try p = 0.2 on a model with a dropout of 0.2: the run is the model's own, and no error."""

    def model():
        return nn.Sequential(nn.Linear(30, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))

    x, y = torch.randn(120, 30, generator=torch.Generator().manual_seed(0)), torch.arange(120) % 2
    task = Task(model, (x, y), (x, y), False, name="own")
    context = TaskContext.of(task, registry(), torch.device("cpu"))
    recipes = [{"momentum": {"lr": 0.1}}, {"momentum": {"lr": 0.1}, "dropout": {"p": 0.2}}]
    losses = [
        Trainer(context, [Run("own", Recipe.of(registry(), recipe), 0, 1)]).step()[0] for recipe in recipes
    ]
    assert torch.equal(*losses)
