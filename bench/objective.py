"""A synthetic objective over a whole search space: closed form, no training, with an approximately known optimum.

A quarter of the tricks help, a quarter hurt, half do next to nothing; every setting has an optimum
somewhere inside its range; as many pairs of tricks interact as there are tricks; a learning rate far above its
optimum diverges. Observed values carry noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import log
from pathlib import Path

import numpy as np
import torch

from ablate.catalogue.registry import registry
from ablate.lanes.applicable import applicable
from ablate.lanes.context import TaskContext
from ablate.records.recipe import Recipe, conflict
from ablate.records.trick import Value
from ablate.search.dimension import Dimension
from ablate.search.space import NONE, OPTIMIZER, Space
from ablate.study.request import Options, find

NOISE = 0.3
DIVERGES = 0.45
"""Distance above its optimum, as a fraction of its range, at which a learning rate diverges."""


@lru_cache(maxsize=1)
def whole_space() -> Space:
    """The space of `ablate study digits`: every trick that applies."""
    opened = find("digits", Options(Path("studies"), Path("reports"), "cpu", 0, 1, "inline", "bench"))
    context = TaskContext.of(opened.task, registry(), torch.device("cpu"))
    baseline = opened.study.baseline_recipe(registry(), 0.05)
    return Space.of(registry(), opened.study, applicable(context), baseline, lr_center=0.05)


@dataclass(frozen=True)
class Setting:
    """The contribution of one dimension: `values` of its choices, or −`curvature` · (share of its range − `optimum`)²."""

    dimension: Dimension
    values: tuple[float, ...] = ()
    optimum: float = 0.0
    curvature: float = 0.0

    def share(self, value: float) -> float:
        """Where `value` lies in the range, from 0 to 1."""
        dimension = self.dimension
        if dimension.log:
            return (log(value) - log(dimension.low)) / (log(dimension.high) - log(dimension.low))
        return (value - dimension.low) / (dimension.high - dimension.low)

    def score(self, value: Value) -> float:
        """0 at the optimum, negative elsewhere."""
        if self.values:
            return self.values[self.dimension.choices.index(value)] - max(self.values)
        return -self.curvature * (self.share(float(value)) - self.optimum) ** 2


@dataclass
class Objective:
    """Values of recipes of `space`; higher is better. Everything follows from `seed`."""

    space: Space
    seed: int
    effects: dict[str, float] = field(init=False, default_factory=dict)
    settings: dict[str, list[Setting]] = field(init=False, default_factory=dict)
    pairs: dict[tuple[str, str], float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        draw = np.random.default_rng([self.seed, 77])
        names = list(self.space.settings)
        for name, kind in zip(names, draw.choice(3, len(names), p=[0.25, 0.25, 0.5]), strict=True):
            size = abs(draw.normal()) + 0.3
            self.effects[name] = float([size, -size, 0.1 * draw.normal()][kind])
            self.settings[name] = [
                _setting(one, draw) for one in self.space.settings[name] if one.constant is None
            ]
        for name in names:
            if self.space.catalogue[name].slot == OPTIMIZER:
                self.effects[name] = 0.4 * draw.normal()
        for _ in names:
            one, other = sorted(draw.choice(len(names), 2, replace=False))
            self.pairs[names[one], names[other]] = 0.3 * draw.normal()

    def value(self, recipe: Recipe) -> float:
        """Without noise."""
        total = sum(
            one.score(recipe[name][one.dimension.name.removeprefix(f"{name}.")])
            for name in recipe
            for one in self.settings.get(name, ())
        )
        return total + self._of_tricks([name for name in recipe if name in self.effects])

    def diverges(self, recipe: Recipe) -> bool:
        return any(
            one.share(float(recipe[name]["lr"])) > one.optimum + DIVERGES
            for name in recipe
            for one in self.settings.get(name, ())
            if one.dimension.name.endswith(".lr")
        )

    def best(self) -> float:
        """The best value that exchanging one switch at a time finds, from the baseline and seven random starts."""
        draw = np.random.default_rng(self.seed)
        switches = self.space.switches
        best = -np.inf
        for start in range(8):
            state = [switch.choices[0] for switch in switches]
            for i in draw.permutation(len(state)) if start else ():
                choices = switches[i].choices
                other = [*state[:i], choices[draw.integers(len(choices))], *state[i + 1 :]]
                state = other if self._allowed(other) else state
            value, better = self._of_tricks(self._on(state)), True
            while better:
                better = False
                for i, switch in enumerate(switches):
                    for choice in switch.choices:
                        other = [*state[:i], choice, *state[i + 1 :]]
                        new = self._of_tricks(self._on(other))
                        if new > value + 1e-9 and self._allowed(other):
                            state, value, better = other, new, True
            best = max(best, value)
        return float(best)

    def _of_tricks(self, on: list[str]) -> float:
        together = set(on)
        pairs = sum(v for (one, other), v in self.pairs.items() if one in together and other in together)
        return sum(self.effects[name] for name in on) + pairs

    def _on(self, state: list[Value]) -> list[str]:
        return [
            name for name in self.space.on({s.name: v for s, v in zip(self.space.switches, state, strict=True)})
            if name != NONE and name in self.effects
        ]  # fmt: skip

    def _allowed(self, state: list[Value]) -> bool:
        tricks = [self.space.catalogue[name] for name in self._on(state)]
        return not any(conflict(one, other) for i, one in enumerate(tricks) for other in tricks[:i])


def _setting(dimension: Dimension, draw: np.random.Generator) -> Setting:
    if dimension.choices:
        return Setting(dimension, tuple(0.4 * draw.normal(size=len(dimension.choices))))
    optimum = float(draw.uniform(0.15, 0.85))
    curvature = 8.0 if dimension.name.endswith(".lr") else float(draw.choice([0.0, 1.0, 3.0]))
    return Setting(dimension, (), optimum, curvature)
