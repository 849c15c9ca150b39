"""Parameters without a gradient are skipped as torch.optim skips them: no update, no decay, no state, whatever the lanes beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.lanes.checkpoint import load, restore_trainer, save, trainer_state
from ablate.lanes.context import TaskContext
from ablate.lanes.optimizer_parts import divided
from ablate.lanes.trainer import Trainer
from ablate.lanes.training import Training
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Run
from ablate.tasks.task import Task

CPU = torch.device("cpu")
CATALOGUE = registry()


class Routed(nn.Module):
    """One of three experts for the whole batch, by its data: the others have no gradient in that step."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(4, 6) for _ in range(3))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        which = int((x[:, 0].sum() * 100).abs()) % 3
        return self.head(torch.relu(self.experts[which](x)))


class Frozen(Routed):
    """The same with a frozen expert, without control flow: every kernel takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.experts[1].requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.experts[1](x) + self.experts[0](x)))


def task_of(model: Callable[[], nn.Module]) -> Task:
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(128, 4, generator=draw), torch.randint(0, 3, (128,), generator=draw)
    return Task(model, (x[:96], y[:96]), (x[96:], y[96:]), False, name="absent", batch_size=8, epochs=2)


def context_of(model: Callable[[], nn.Module], kernel: str | None = None) -> TaskContext:
    return TaskContext.of(task_of(model), CATALOGUE, CPU, kernel)


def run_of(recipe: Mapping[str, Any], seed: int = 0) -> Run:
    return Run("absent", Recipe.of(CATALOGUE, recipe), seed, 2)


OPTIMIZERS: dict[str, tuple[dict[str, Any], Callable[[Any], torch.optim.Optimizer]]] = {
    "sgd": ({"sgd": {"lr": 0.1}}, lambda p: torch.optim.SGD(p, 0.1)),
    "momentum_l2": (
        {"momentum": {"lr": 0.05, "momentum": 0.8}, "weight_decay": {"decay": 0.05}},
        lambda p: torch.optim.SGD(p, 0.05, 0.8, weight_decay=0.05),
    ),
    "adam": ({"adam": {"lr": 0.01}}, lambda p: torch.optim.Adam(p, 0.01)),
    "adamw": ({"adamw": {"lr": 0.01, "decay": 0.1}}, lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)),
    "adam_decoupled": (
        {"adam": {"lr": 0.01}, "weight_decay": {"decay": 0.1, "mode": "decoupled"}},
        lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    ),
    "rmsprop": ({"rmsprop": {"lr": 0.01}}, lambda p: torch.optim.RMSprop(p, 0.01)),
    "adagrad": ({"adagrad": {"lr": 0.05}}, lambda p: torch.optim.Adagrad(p, 0.05)),
}


@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_experts_that_are_reached_now_and_then_train_as_with_torch_optim(
    name: str, clip: float | None
) -> None:
    recipe, make = OPTIMIZERS[name]
    context = context_of(Routed)
    assert context.solo
    trainer = Trainer(context, [run_of(recipe | ({"clip_norm": {"max_norm": clip}} if clip else {}))])
    model = trainer.model(0)
    optimizer = make(model.parameters())
    used = set()
    for _ in range(20):
        index = trainer.index()[0]
        x, y = context.task.train.x[index], context.task.train.y[index]
        used.add(int((x[:, 0].sum() * 100).abs()) % 3)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        trainer.step()
    assert used == {0, 1, 2}
    for parameter_name, parameter in model.named_parameters():
        torch.testing.assert_close(
            trainer.weights[parameter_name][0], parameter.detach(), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("kernel", ["compiled", "batched", "vmap", "loop"])
def test_frozen_weights_stay_bit_for_bit_and_lanes_stay_exact(kernel: str) -> None:
    context = context_of(Frozen, kernel)
    recipes = [recipe for recipe, _ in OPTIMIZERS.values()]
    recipes += [
        {
            "momentum": {"lr": 0.05},
            "ema": {"decay": 0.9},
            "clip_norm": {"max_norm": 0.1},
            "warmup": {"share": 0.5},
        }
    ]
    runs = [run_of(recipe, seed) for seed, recipe in enumerate(recipes)]
    together = Trainer(context, runs)
    frozen = [
        name for name in together.weights if name.startswith("experts.1") or name.startswith("experts.2")
    ]
    before = {name: together.weights[name].clone() for name in together.weights}
    for _ in range(5):
        together.step()
    scored = together.scored_weights()
    for name in together.weights:
        for weights in (together.weights, scored):
            assert torch.equal(weights[name], before[name]) == (name in frozen), name
    for lane in (1, 4, 7):
        alone = Trainer(context, [runs[lane]])
        for _ in range(5):
            alone.step()
        assert torch.equal(alone.weights.flat[0], together.weights.flat[lane])
    together.take(torch.tensor([4, 1]))
    together.extend(Trainer(context, [runs[7]])) if together.within == 0 else together.step()


def test_parts_are_saved_and_restored(tmp_path: Path) -> None:
    context, run = context_of(Routed), run_of(OPTIMIZERS["adamw"][0])
    whole, broken = Trainer(context, [run]), Trainer(context, [run])
    for _ in range(9):
        whole.step(), broken.step()
    assert len(broken.optimizers.parts) > 1
    resumed = Trainer(context, [run])
    restore_trainer(resumed, trainer_state(broken))
    for _ in range(9):
        whole.step(), resumed.step()
    assert torch.equal(whole.weights.flat, resumed.weights.flat)


def test_parts_cover_each_parameter_of_each_lane_once() -> None:
    context = context_of(Frozen, "loop")
    trainer = Trainer(context, [run_of({"adam": {"lr": 0.01}}, seed) for seed in range(3)])
    absent = [frozenset(), frozenset({"head.bias"}), frozenset({"head.bias", "experts.0.weight"})]
    parts = divided(divided(trainer.optimizers.parts, absent, trainer.layout), absent[::-1], trainer.layout)
    covered = [
        (lane, name)
        for part in parts
        for lane in part.lanes.tolist()
        for name in part.columns or trainer.layout.specs
    ]
    assert sorted(covered) == sorted((lane, name) for lane in range(3) for name in trainer.layout.specs)


class Overflowing(nn.Linear):
    """A finite loss whose gradient is not: the derivative of a root at zero."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y + (y - y).square().sqrt()


def test_a_run_whose_every_step_is_skipped_is_not_complete() -> None:
    context = context_of(lambda: Overflowing(4, 3))
    amp = {"amp": {"dtype": "float16"}, "sgd": {"lr": 0.1}}
    (result,) = Training(context, [run_of(amp)], ("validation",)).finish()
    assert result.outcome is Outcome.FAILED
    assert "nothing was trained" in result.note
    (without,) = Training(context, [run_of({"sgd": {"lr": 0.1}})], ("validation",)).finish()
    assert without.outcome is Outcome.DIVERGED


class OnlyStatistics(nn.Module):
    """Trains nothing but the running statistics of a norm; its parameters have no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, 3)
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x)).detach() + 0 * self.gain


def test_a_run_in_which_only_statistics_moved_is_not_complete(tmp_path: Path) -> None:
    context = context_of(OnlyStatistics)
    run = run_of({"momentum": {"lr": 0.1}})
    training = Training(context, [run], ("validation",))
    training.epoch()
    save(tmp_path / "c", training)
    (result,) = load(tmp_path / "c", context).finish()  # the initial weights are made again
    assert result.outcome is Outcome.FAILED


@pytest.mark.parametrize("lr", [1e-30, 0.05])
def test_a_run_in_which_nothing_moved_is_not_complete(lr: float) -> None:
    context = context_of(Frozen)
    training = Training(
        context, [run_of({"sgd": {"lr": lr}}), run_of({"sgd": {"lr": 0.05}}, 1)], ("validation",)
    )
    first, second = training.finish()
    assert second.outcome is Outcome.COMPLETE
    assert first.outcome is (Outcome.FAILED if lr < 1e-9 else Outcome.COMPLETE)
    assert ("nothing was trained" in first.note) == (lr < 1e-9)
    assert bool(first.metrics) == (lr > 1e-9)
