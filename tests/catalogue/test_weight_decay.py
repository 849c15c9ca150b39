"""Weight decay, both forms, around every kind of optimizer; and all kinds together in one group."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from optimizer_cases import (
    STEPS,
    Problem,
    Step,
    assert_lanes_equal_alone,
    assert_rounding,
    from_torch,
    settings_of,
    train_alone,
    train_lanes,
)
from sweep import sweep
from torch import Tensor

from ablate.catalogue.optimizer.weight_decay import decay
from ablate.catalogue.registry import registry
from ablate.lanes.group import Group
from ablate.lanes.update import Optimizers
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Layout, Spec

KINDS = {
    "sgd": torch.optim.SGD,
    "momentum": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def recipe_of(kind: str, rng: random.Random) -> dict[str, Any]:
    """A random recipe: an optimizer, and two times in three a weight decay (adamw has its own)."""
    recipe = {kind: settings_of(kind, rng)}
    if kind == "adam":
        recipe[kind]["bias_correction"] = True
    if kind != "adamw" and rng.random() < 2 / 3:
        recipe["weight_decay"] = settings_of("weight_decay", rng)
    return recipe


def reference(recipe: Mapping[str, Mapping[str, Any]]) -> Step:
    """torch's optimizer with its own L2, or with the weights shrunk by hand before its step."""
    kind = next(name for name in recipe if name in KINDS)
    settings = dict(recipe[kind])
    wanted = recipe.get("weight_decay", {"decay": 0.0, "mode": "l2"})
    if "beta1" in settings:
        settings["betas"] = (settings.pop("beta1"), settings.pop("beta2"))
    settings.pop("bias_correction", None)
    settings["weight_decay"] = settings.pop("decay", wanted["decay"] if wanted["mode"] == "l2" else 0.0)
    inner = from_torch(KINDS[kind])(settings)

    def step(weights: dict[str, Tensor], gradients: dict[str, Tensor], factor: float) -> None:
        if wanted["mode"] == "decoupled":
            for tensor in weights.values():
                tensor -= settings["lr"] * factor * wanted["decay"] * tensor
        inner(weights, gradients, factor)

    return step


@sweep("seed", range(12))
def test_a_group_of_all_kinds_equals_torch_lane_by_lane(seed: int) -> None:
    rng = random.Random(seed)
    kinds = [*KINDS, *rng.choices(list(KINDS), k=3)]
    rng.shuffle(kinds)
    recipes = [recipe_of(kind, rng) for kind in kinds]
    problem, steps = Problem(len(recipes), seed), STEPS if seed == 0 else 12
    trained = train_lanes(recipes, problem, steps=steps)
    for lane, recipe in enumerate(recipes):
        for name, expected in train_alone(reference(recipe), problem, lane, steps).items():
            assert_rounding(trained[name][lane], expected)


@sweep("seed", range(2))
def test_lanes_of_a_mixed_group_end_at_the_bits_they_end_at_alone(seed: int) -> None:
    rng = random.Random(seed)
    kinds = [*KINDS, *rng.choices(list(KINDS), k=14)]
    rng.shuffle(kinds)
    assert_lanes_equal_alone([recipe_of(kind, rng) for kind in kinds], seed)


def one_lane(value: float, **settings: Any) -> tuple[LaneTensors, LaneTensors, Settings]:
    layout = Layout([Spec("w", (16,))])
    weights = LaneTensors(layout, torch.full((1, 16), value))
    p = Settings.stack(registry()["weight_decay"], [settings], torch.device("cpu"))
    return weights, weights.like(torch.full((1, 16), -0.0)), p


@pytest.mark.parametrize("mode", ["l2", "decoupled"])
@pytest.mark.parametrize("value", [1.5, -3.0, 0.0, -0.0])
def test_neutral_returns_the_numbers_it_was_given(mode: str, value: float) -> None:
    weights, gradients, p = one_lane(value, decay=0.0, mode=mode)
    new, g = decay(weights, gradients, torch.tensor([0.1]), p)
    assert torch.equal(new.flat, weights.flat)
    assert torch.equal(g.flat, gradients.flat)


@pytest.mark.parametrize("value", [1.5, -3.0, 0.0, -0.0, float("inf")])
def test_a_lane_without_it_keeps_its_bits_beside_one_that_has_it(value: float) -> None:
    """Also the sign of a zero, and infinite weights, which times a decay of zero would be no numbers."""
    catalogue, cpu = registry(), torch.device("cpu")
    momentum = {"momentum": {"lr": 0.0, "momentum": 0.5}}
    recipes = [momentum, momentum | {"weight_decay": {"decay": 0.5, "mode": "l2"}}]
    runs = [Run("problem", Recipe.of(catalogue, recipe), 0, 1) for recipe in recipes]
    group, layout = Group(runs, catalogue, cpu), Layout([Spec("w", (16,))])
    weights = LaneTensors(layout, torch.full((2, 16), value))
    optimizers, before = Optimizers(group, weights), weights.flat.clone()
    gradients = weights.like(torch.full((2, 16), -0.0))
    steps, moved = torch.ones(2, dtype=torch.int64), torch.tensor([True, True])
    optimizers.update(group, weights, gradients, torch.ones(2), steps, moved)
    assert torch.equal(weights.flat[0], before[0])
    assert (optimizers.parts[0].state["velocity"][0] == 0).all()


def test_each_mode_leaves_the_other_side_alone() -> None:
    weights, gradients, p = one_lane(2.0, decay=0.5, mode="l2")
    new, g = decay(weights, gradients, torch.tensor([0.1]), p)
    assert torch.equal(new.flat, weights.flat)
    assert (g.flat == 1.0).all()
    weights, gradients, p = one_lane(2.0, decay=0.5, mode="decoupled")
    new, g = decay(weights, gradients, torch.tensor([0.1]), p)
    assert new.flat.unique().item() == pytest.approx(1.9)
    assert (g.flat == 0.0).all()
