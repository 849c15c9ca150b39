"""Simulated worlds for the tuned racing design, at the level of scores: nothing is trained. Unit: σ of one run.

A score is  peak(arm) − curve(rate) + split(seed) + interplay(arm, seed) + noise.  A seed deals its own split, so that the
effects that vary with the split vary with the seed. Each arm has its best learning rate, which the shipped tuning has to find.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MARGIN = 0.95
EFFECTS = (2.0, 1.5, 1.0, 1.0, -1.0, -1.5, MARGIN, 0.7, 0.4, -0.4, 0.2, 0.0, 0.0, 0.0)
"""Of fourteen tricks; the placebo comes besides."""
NOTHING = (0.0,) * 14
SPARSE = (1.5, 1.0, -1.0) + (0.0,) * 27
SPLIT_SPREAD = 0.5
"""Of what all arms share on a seed: the difficulty of its split."""
COLLAPSE_RATE, CHANCE = 0.05, -12.0
CLIFF = 0.6
"""Decades above the best rate at which training collapses, where rates matter."""
PAIRS = 40
"""Pairs of the last look where nothing else is said: a study of some 30 tricks on digits within its default budget."""


@dataclass(frozen=True)
class World:
    """`noise`: normal, unequal, heavy-tailed, skewed or collapses. `by_split`: σ of a trick's effect over splits.

    `pairing`: share of the variance that an arm has in common with the reference on a seed, besides the split: every other
    arm this, the others nothing. `curvature`: what a
    decade beside the best rate costs, in σ (0: rates do nothing, nothing is tuned). `apart`: decades between the best rates of
    the tricks and of the reference, at most. `looks_up_to`: pairs of the last look.
    """

    name: str
    effects: tuple[float, ...] = EFFECTS
    noise: str = "normal"
    by_split: float = 0.0
    pairing: float = 0.0
    curvature: float = 0.0
    apart: float = 0.0
    looks_up_to: int = PAIRS

    @property
    def tricks(self) -> list[str]:
        return [f"trick{i}" for i in range(len(self.effects))]

    def offsets(self) -> Array:
        """Decades from the reference's best rate to each trick's, evenly over [-apart, apart] and not in effects' order."""
        count = len(self.effects)
        return self.apart * np.linspace(-1, 1, count)[(5 * np.arange(count) + 2) % count]


def worlds() -> list[World]:
    return [
        World("normal"),
        World("unequal σ", noise="unequal"),
        World("heavy-tailed (t₃)", noise="heavy-tailed"),
        World("skewed (exponential)", noise="skewed"),
        World("5 % collapses", noise="collapses"),
        World("effects vary by split (0.5 σ)", by_split=0.5),
        World("effects vary by split (1 σ)", by_split=1.0),
        World("arms share 0 or 0.7 of the variance", pairing=0.7),
        World("rate × trick, best rates up to a decade apart", curvature=6.0, apart=1.0),
        World("rate × trick, heavy-tailed, effects vary by split", noise="heavy-tailed", by_split=0.5, curvature=6.0, apart=1.0),
        World("A/A, normal", NOTHING),
        World("A/A, unequal σ", NOTHING, noise="unequal"),
        World("A/A, heavy-tailed (t₃)", NOTHING, noise="heavy-tailed"),
        World("A/A, skewed (exponential)", NOTHING, noise="skewed"),
        World("A/A, arms share 0 or 0.7 of the variance", NOTHING, pairing=0.7),
        World("A/A, tuned, same best rate", NOTHING, curvature=6.0),
        World("rate × trick, no effect at the best rate", NOTHING, curvature=6.0, apart=1.0),
        World("27 of 30 without effect", SPARSE),
        World("27 of 30 without effect, heavy-tailed", SPARSE, noise="heavy-tailed"),
        World("normal, looks up to 27 pairs", looks_up_to=27),
        World("normal, looks up to 90 pairs", looks_up_to=90),
    ]  # fmt: skip


def scores(
    world: World, replicates: int, count: int, pairs: int, draw: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Scores without effects and rates: reference `[R, count]`, tricks `[R, k, pairs]` on its first seeds, placebo `[R, pairs]` on
    others. An arm's values have mean 0 and (averaged over the arms) variance 1 beside the shared parts.
    """
    k = len(world.effects)
    common, rest = np.sqrt(world.pairing), np.sqrt(1 - world.pairing)
    split, shared = (
        SPLIT_SPREAD * draw.standard_normal((replicates, count)),
        draw.standard_normal((replicates, count)),
    )
    reference = split + common * shared + rest * noise(world, 1.0, (replicates, count), draw)
    scale = np.linspace(0.4, 1.6, k)[(3 * np.arange(k) + 1) % k][:, None] if world.noise == "unequal" else 1.0
    tricks = split[:, None, :pairs] + rest * noise(world, scale, (replicates, k, pairs), draw)
    if world.pairing:
        apart = draw.standard_normal((replicates, k, pairs))
        tricks += common * np.where(np.arange(k)[:, None] % 2, shared[:, None, :pairs], apart)
    if world.by_split:
        tricks += world.by_split * draw.standard_normal((replicates, k, pairs))
    spread = np.hypot(SPLIT_SPREAD, common)
    placebo = spread * draw.standard_normal((replicates, pairs)) + rest * noise(
        world, 1.0, (replicates, pairs), draw
    )
    return reference, tricks, placebo


def noise(world: World, scale: Array | float, size: tuple[int, ...], draw: np.random.Generator) -> Array:
    """Noise of mean 0 and variance 1, times `scale`; collapses fall to one level whatever the recipe."""
    if world.noise == "heavy-tailed":
        return scale * draw.standard_t(3, size) / np.sqrt(3)
    if world.noise == "skewed":
        return scale * (1 - draw.standard_exponential(size))
    return scale * draw.standard_normal(size)
