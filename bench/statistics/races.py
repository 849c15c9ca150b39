"""Simulated studies of a world: the shipped tuning chooses rates, then all arms race on fresh seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

import numpy as np
from numpy.typing import NDArray

from ablate.catalogue.registry import registry
from ablate.ranking.designs.racing import Racing
from ablate.records.recipe import Recipe
from ablate.study.ranking.arms import Arm, rate_of
from ablate.study.ranking.estimates import FLOOR, LEVELS
from ablate.study.ranking.tuning import seeds_of, tune
from ablate.study.ranking.tuning_points import chosen_of
from bench.statistics.race_worlds import (
    CHANCE,
    CLIFF,
    COLLAPSE_RATE,
    MARGIN,
    SPLIT_SPREAD,
    World,
    noise,
    scores,
)
from bench.statistics.replay_many import replay_many

Array = NDArray[np.float64]
CATALOGUE = registry()
RATE = 0.1
BASELINE = Recipe.of(CATALOGUE, {"momentum": {"lr": RATE}})
TUNING = LEVELS[FLOOR][0]
"""The tuning of a study without a budget."""
PLACEBO, REFERENCE = "placebo", "reference"
OFF_LATTICE = 0.16
"""The best rates lie up to so many decades beside the lattice of rates that are tried."""


@dataclass(frozen=True)
class Races:
    """R races of k arms, the placebo last; arrays `[R, k]`.

    `truth`: the effect at the rates that tuning chose (what the intervals are about), `best`: at each arm's own best rate.
    `code`: 1 helps, −1 hurts, 0 no measurable effect, 2 undecided. `look`: where an arm was decided, or the last one.
    `runs` `[R]`: of the race, the reference's among them.
    """

    truth: Array
    best: Array
    effect: Array
    low: Array
    high: Array
    code: NDArray[np.int8]
    look: NDArray[np.int64]
    pairs: NDArray[np.int64]
    runs: NDArray[np.int64]
    looks: int


def simulate(world: World, replicates: int, seed: int) -> Races:
    """`replicates` races: rates are tuned where they matter, then all arms race on fresh seeds."""
    draw = np.random.default_rng([seed, *map(ord, world.name)])
    racing = Racing.up_to(world.looks_up_to)
    best, lost, expected, arms, placebo, reference = drawn(world, replicates, draw)
    truth = best - (lost[:, 1:] - lost[:, :1])
    if world.noise == "collapses":
        truth, best = (1 - COLLAPSE_RATE) * truth, (1 - COLLAPSE_RATE) * best
    outcome = replay_many(arms, placebo, reference, racing, MARGIN, expected[:, 1:])
    return Races(
        truth, np.broadcast_to(best, truth.shape), outcome.effect, outcome.effect - outcome.half, outcome.effect + outcome.half,
        outcome.code, outcome.look, outcome.pairs, outcome.runs, len(racing.pairs),
    )  # fmt: skip


def drawn(
    world: World, replicates: int, draw: np.random.Generator
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """(effects at the best rates `[k + 1]`, what each loses at the chosen rates `[R, k + 2]`, the reference first, what it is
    expected to lose by its tuning runs, and the scores: arms `[R, k, n]`, placebo `[R, n]`, reference `[R, m]`)."""
    racing = Racing.up_to(world.looks_up_to)
    k, pairs = len(world.effects), racing.pairs[-1]
    count = max(racing.reference_runs(look, k + 1) for look in range(len(racing.pairs)))
    best = np.array([*world.effects, 0.0])
    lost, expected = np.zeros((2, replicates, k + 2))
    if world.curvature:
        lost, expected = np.array([losses(world, draw) for _ in range(replicates)]).transpose(1, 0, 2)
    reference, arms, placebo = scores(world, replicates, count, pairs, draw)
    arms = arms + (best[:-1] - lost[:, 1:-1])[:, :, None]
    reference, placebo = reference - lost[:, :1], placebo - lost[:, -1:]
    if world.noise == "collapses":
        arms, placebo, reference = (
            np.where(draw.random(values.shape) < COLLAPSE_RATE, CHANCE, values) for values in (arms, placebo, reference)
        )  # fmt: skip
    return best, lost, expected, arms, placebo, reference


def losses(world: World, draw: np.random.Generator) -> Array:
    """What the reference, each trick and the placebo lose, in σ, at the rate that the shipped tuning chose for it, and what
    tuning expects of it: `[2, k + 2]`."""
    names = [REFERENCE, *world.tricks, PLACEBO]
    shift = draw.uniform(-OFF_LATTICE, OFF_LATTICE)
    places = log10(RATE) + shift + np.array([0.0, *world.offsets(), 0.0])
    optimum = dict(zip(names, places, strict=True))
    effect = dict(zip(names, (0.0, *world.effects, 0.0), strict=True))
    split: dict[int, float] = {}

    def loss(name: str, recipe: Recipe) -> float:
        rate = rate_of(recipe, CATALOGUE)
        assert rate is not None
        beyond = log10(rate) - optimum[name]
        return -CHANCE if beyond > CLIFF else world.curvature * beyond**2

    def tuning_scores(rows: Sequence[tuple[str, Recipe, int]]) -> list[float]:
        errors = noise(world, np.hypot(1.0, world.by_split), (len(rows),), draw)
        return [
            effect[name] - loss(name, recipe) + split.setdefault(seed, SPLIT_SPREAD * draw.standard_normal()) + error
            for (name, recipe, seed), error in zip(rows, errors.tolist(), strict=True)
        ]  # fmt: skip

    arms = [Arm("add-one", "" if name == REFERENCE else name, (BASELINE,)) for name in names]
    number = seeds_of(TUNING)
    seeds = {arm.name: range(number) for arm in arms}
    seeds[arms[-1].name] = range(number, 2 * number)
    by_arm = dict(zip((arm.name for arm in arms), names, strict=True))
    points = tune(
        arms, {arm.name: arms[0].name for arm in arms}, CATALOGUE, TUNING, seeds,
        lambda rows: tuning_scores([(by_arm[name], recipe, seed) for name, recipe, seed in rows]),
    )  # fmt: skip
    chosen = {arm.name: chosen_of(points[arm.name]) for arm in arms}
    return np.array(
        [
            [loss(by_arm[name], point.recipe) for name, point in chosen.items()],
            [point.loss for point in chosen.values()],
        ]
    )
