"""Simulated worlds in which the truth is known: noise, interactions, collapses. Unit: σ of one run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.ranking.designs.design import Factor, with_placebo
from ablate.ranking.estimation.coding import effect_columns

Array = NDArray[np.float64]
MARGIN = 0.95
# Twelve columns: nine tricks that act, two that do not, and the placebo.
EFFECTS = (2.0, 1.5, 1.0, 1.0, MARGIN, 0.5, -0.5, -1.0, -1.5, 0.0, 0.0, 0.0)
NOTHING = (0.0,) * 12
PAIRS = ((0, 1), (1, 2), (2, 7), (3, 8), (4, 5), (6, 7))
TRIPLES = ((0, 1, 2), (2, 3, 7), (4, 5, 8), (1, 6, 7))
PAIR_SIZE = 1.0  # a trick's effect changes by this much, in σ, when its partner is switched on
TRIPLE_SIZE = 1.0  # and a pair's interaction by this much
SEED_SPREAD = 0.5  # of the effect that all runs of one block share
COLLAPSE_RATE = 0.05
CHANCE = -12.0  # the metric of a collapsed run, whatever its recipe; no sound run comes near it
DECLARED = -11.0  # what a study declares to be a collapse
# A slot of three levels and a trick that is conditional on the best one, among the others.
MIXED = (*EFFECTS[:9], 1.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class World:
    """One cell of the table. `noise`: normal, unequal, heavy-tailed, skewed or collapses."""

    noise: str
    truth: str
    effects: tuple[float, ...] = EFFECTS
    declared: bool = True  # whether the study declared what a collapse is
    trick_by_seed: float = 0.0  # σ of a trick's effect from training seed to training seed

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Eleven tricks and the placebo, or nine, a slot, a conditional trick and the placebo."""
        if self.effects != MIXED:
            return with_placebo([Factor(f"trick{i}") for i in range(11)])
        slot = Factor("slot", ("a", "b", "c"))
        child = Factor("child", role="conditional", parent="trick0")
        return with_placebo([*(Factor(f"trick{i}") for i in range(9)), slot, child])

    @property
    def name(self) -> str:
        parts = [self.noise, self.truth]
        if not any(self.effects):
            parts[1] = "all placebos"
        if self.effects == MIXED:
            parts.append("slot of three and conditional trick")
        if not self.declared:
            parts.append("collapse not declared")
        if self.trick_by_seed:
            parts.append(f"effects vary by {self.trick_by_seed} σ from seed to seed")
        return ", ".join(parts)


def outcomes(world: World, frame: pd.DataFrame, replicates: int, draw: np.random.Generator) -> Array:
    """Metrics [replicates, runs] of the design `frame` in `world`; higher is better."""
    names = [factor.name for factor in world.factors if len(factor.levels) == 2]
    half = np.where(frame[names].to_numpy() == "on", 0.5, -0.5)
    size = (replicates, len(frame))
    columns = effect_columns(frame, world.factors)[1]
    mean = (columns - columns.mean(axis=0)) @ np.array(world.effects)
    # Products of centred columns leave every average effect, the estimand, where it was.
    if world.truth in ("two-factor", "three-factor") and any(world.effects):
        mean = mean + PAIR_SIZE * sum(half[:, i] * half[:, j] for i, j in PAIRS)
    if world.truth == "three-factor" and any(world.effects):
        mean = mean + TRIPLE_SIZE * sum(half[:, i] * half[:, j] * half[:, k] for i, j, k in TRIPLES)
    blocks = frame["block"].to_numpy()
    seeds = SEED_SPREAD * draw.standard_normal((replicates, blocks.max() + 1))
    y = mean + seeds[:, blocks] + noise(world.noise, half, size, draw)
    if world.trick_by_seed:
        shift = world.trick_by_seed * draw.standard_normal((replicates, blocks.max() + 1, columns.shape[1]))
        y = y + np.einsum("rnk,nk->rn", shift[:, blocks], columns - 0.5)
    if world.noise == "collapses":
        y = np.where(draw.random(size) < COLLAPSE_RATE, CHANCE + 0.1 * draw.standard_normal(size), y)
    return y


def noise(kind: str, half: Array, size: tuple[int, int], draw: np.random.Generator) -> Array:
    """Noise of mean 0 and (averaged over the arms) variance 1."""
    if kind in ("normal", "collapses"):
        return draw.standard_normal(size)
    if kind == "unequal":
        # σ from 0.25 to 1.75: larger with the best trick, and with the placebo.
        scale = 1 + 0.5 * half[:, 0] * 2 + 0.25 * half[:, -1] * 2
        return draw.standard_normal(size) * scale / np.sqrt(np.mean(scale**2))
    if kind == "heavy-tailed":
        return draw.standard_t(3, size) / np.sqrt(3)
    if kind == "skewed":
        return 1 - draw.standard_exponential(size)
    raise ValueError(kind)
