"""AdamW against torch.optim.AdamW; what tells it from Adam with an L2 penalty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from optimizer_cases import CASES, Problem, Step, assert_equal_to, assert_rounding, from_torch, train_lanes
from sweep import sweep

from ablate.catalogue.registry import registry
from ablate.records.errors import Conflict
from ablate.records.recipe import Recipe


def reference(settings: Mapping[str, Any]) -> Step:
    named = {"lr": settings["lr"], "eps": settings["eps"], "betas": (settings["beta1"], settings["beta2"])}
    return from_torch(torch.optim.AdamW)({**named, "weight_decay": settings["decay"]})


@sweep("seed, lanes, steps", CASES)
def test_equals_torch(seed: int, lanes: int, steps: int) -> None:
    assert_equal_to("adamw", reference, seed, lanes, steps)


def test_without_decay_it_is_adam_and_with_it_adam_decayed_beside_the_rule() -> None:
    """Also that a decay of zero is legal, though it is no neutral setting: the rule is still Adam's."""
    problem = Problem(2, 5)
    recipes = [{"adamw": {"lr": 0.01, "decay": decay}} for decay in (0.0, 0.3)]
    trained = train_lanes(recipes, problem)
    adam = train_lanes(
        [
            {"adam": {"lr": 0.01}, "weight_decay": {"decay": decay, "mode": "decoupled"}}
            for decay in (0.0, 0.3)
        ],
        problem,
    )
    assert_rounding(trained.flat, adam.flat)
    assert registry()["adamw"].neutral is None


def test_has_its_own_decay() -> None:
    with pytest.raises(Conflict, match="weight_decay"):
        Recipe.of(registry(), {"adamw": True, "weight_decay": True})
