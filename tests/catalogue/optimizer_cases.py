"""Random problems on which lanes of optimizers are compared with torch's own, one lane at a time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ablate.catalogue.registry import registry
from ablate.lanes.group import Active, Group
from ablate.lanes.update import Optimizers
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.seams.settings import Settings
from ablate.seams.tensors import LaneTensors, Layout, Spec

STEPS = 60
SHAPES = {"first.weight": (5, 3), "first.bias": (5,), "head.weight": (2, 17), "head.bias": (2,)}
CASES = [*((seed, 25, 12) for seed in range(4)), (4, 4, STEPS)]
"""(seed, lanes, steps) of a sweep: a hundred settings for a few steps, and four for many."""
LAYOUT = Layout([Spec(name, shape) for name, shape in SHAPES.items()])
Step = Callable[[dict[str, Tensor], dict[str, Tensor], float], None]
"""One lane's reference: changes the weights in place, given their gradients and the schedule's factor."""


def settings_of(trick: str, rng: random.Random) -> dict[str, Any]:
    """Random settings from the trick's search ranges."""
    drawn: dict[str, Any] = {}
    for parameter in registry()[trick].parameters:
        if parameter.choices:
            drawn[parameter.name] = rng.choice(parameter.choices)
        elif isinstance(parameter.default, bool):
            drawn[parameter.name] = rng.random() < 0.5
        else:
            assert parameter.low is not None
            assert parameter.high is not None
            low, high = parameter.low, parameter.high
            drawn[parameter.name] = (
                math.exp(rng.uniform(math.log(low), math.log(high)))
                if parameter.log
                else rng.uniform(low, high)
            )
    return drawn


class Problem:
    """K lanes' starting points, and gradients that depend on the weights and change with the step."""

    def __init__(self, lanes: int, seed: int, dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.start = {
            name: torch.randn(lanes, *shape, generator=generator, dtype=torch.float64).to(dtype)
            for name, shape in SHAPES.items()
        }
        self.noise = {
            name: torch.randn(STEPS, lanes, *shape, generator=generator, dtype=torch.float64).to(dtype)
            for name, shape in SHAPES.items()
        }
        self.noise["first.weight"][:, :, 0] = 0  # a unit that gets no gradient from the data for long
        self.factors = torch.rand(STEPS, lanes, generator=generator, dtype=torch.float64).to(dtype)

    def gradient(self, name: str, step: int, w: Tensor, lanes: Any = slice(None)) -> Tensor:
        pull = 0.1 * w.tanh() * (self.noise[name][step, lanes] != 0)
        return pull + self.noise[name][step, lanes]


def train_lanes(
    recipes: Sequence[Mapping[str, Any]], problem: Problem, lanes: Any = slice(None), steps: int = STEPS
) -> LaneTensors:
    """The engine's optimizers on the lanes of `problem` (all, or a list of them), one recipe a lane."""
    start = {name: tensor[lanes] for name, tensor in problem.start.items()}
    dtype = problem.factors.dtype
    catalogue, device = registry(), torch.device("cpu")
    runs = [Run("problem", Recipe.of(catalogue, recipe), 0, 1) for recipe in recipes]
    group = Group(runs, catalogue, device)
    group.active = [
        Active(
            active.trick,
            active.code,
            Settings.stack(active.trick, [run.recipe.get(active.name) for run in runs], device, dtype),
        )
        for active in group.active
    ]
    weights = LaneTensors(LAYOUT, LAYOUT.pack(start, len(runs)))
    optimizers = Optimizers(group, weights)
    moved = torch.ones(len(runs), dtype=torch.bool)
    for step in range(steps):
        named = {name: problem.gradient(name, step, w, lanes) for name, w in weights.items()}
        gradients = weights.like(LAYOUT.pack(named, len(runs)))
        at = torch.full((len(runs),), step + 1)
        factor = problem.factors[step, lanes]
        optimizers.update(group, weights, gradients, factor, at, moved)
    return weights


def from_torch(kind: type[torch.optim.Optimizer], **fixed: Any) -> Callable[[Mapping[str, Any]], Step]:
    """A reference made from a torch optimizer: settings -> one lane's step."""

    def make(settings: Mapping[str, Any]) -> Step:
        made: list[torch.optim.Optimizer] = []

        def step(weights: dict[str, Tensor], gradients: dict[str, Tensor], factor: float) -> None:
            if not made:
                made.append(kind(list(weights.values()), **{**settings, **fixed}))  # type: ignore[call-arg]
            for name, tensor in weights.items():
                tensor.grad = gradients[name]
            made[0].param_groups[0]["lr"] = settings["lr"] * factor
            made[0].step()

        return step

    return make


def train_alone(step_of: Step, problem: Problem, lane: int, steps: int = STEPS) -> dict[str, Tensor]:
    """The reference on one lane of `problem`."""
    weights = {name: tensor[lane].clone() for name, tensor in problem.start.items()}
    for step in range(steps):
        gradients = {name: problem.gradient(name, step, w, lane) for name, w in weights.items()}
        step_of(weights, gradients, float(problem.factors[step, lane]))
    return weights


def assert_equal_to(
    trick: str,
    reference: Callable[[Mapping[str, Any]], Step],
    seed: int,
    lanes: int = 4,
    steps: int = STEPS,
) -> None:
    """Lanes of one optimizer with random settings and a random schedule: each as its float64 reference."""
    rng = random.Random(f"{trick} {seed}")
    settings = [settings_of(trick, rng) for _ in range(lanes)]
    problem = Problem(lanes, seed)
    trained = train_lanes([{trick: lane_settings} for lane_settings in settings], problem, steps=steps)
    for lane, lane_settings in enumerate(settings):
        for name, expected in train_alone(reference(lane_settings), problem, lane, steps).items():
            assert_rounding(trained[name][lane], expected)


def assert_rounding(weights: Tensor, expected: Tensor) -> None:
    """Equal to float64 rounding over the steps of a training."""
    torch.testing.assert_close(weights, expected, rtol=1e-11, atol=1e-12)


def assert_lanes_equal_alone(recipes: Sequence[Mapping[str, Any]], seed: int) -> None:
    """Each lane of the group ends at the bits that it ends at alone, in float32."""
    problem = Problem(len(recipes), seed, torch.float32)
    together = train_lanes(recipes, problem)
    for lane, recipe in enumerate(recipes):
        alone = train_lanes([recipe], problem, [lane])
        assert torch.equal(together.flat[lane], alone.flat[0]), f"lane {lane}: {recipe}"
    assert together.flat.isfinite().all()
