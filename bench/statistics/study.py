"""Whole studies, thousands at a time: waves, looks, verdicts, by the very functions that the ranking ships."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ablate.ranking.designs.screening import screening
from ablate.ranking.estimation.coding import effect_columns, nuisance_columns
from ablate.ranking.estimation.dispersion import outlying
from ablate.ranking.estimation.least_squares import least_squares
from ablate.ranking.verdicts.sequential import MARGIN_IN_SIGMA, decide, half_width, nominal_level
from bench.statistics.world import DECLARED, World, outcomes

Array = NDArray[np.float64]
LOOKS = 3
REPLICATES_PER_DESIGN = 20


@dataclass(frozen=True)
class Studies:
    """R studies of k tricks over 3 looks. `stop` [R]: the look (0, 1, 2) at which each ended.

    `effect`, `covered`, `code`, [R, 3, k]; `margin` [R, 3]; `code_set`: verdicts with the margin set
    beforehand; `warned` [R]: whether a warning of failed or far-off runs stands beside all three
    waves (NaN: not asked), `collapsed` [R]: whether one was due; `rank` [R]: rank correlation
    with the truth after the first wave; `runs`: of one wave.
    """

    effect: Array
    covered: NDArray[np.bool_]
    code: NDArray[np.int8]
    code_set: NDArray[np.int8]
    margin: Array
    stop: NDArray[np.intp]
    warned: Array
    collapsed: NDArray[np.bool_]
    rank: Array
    runs: int

    def at_stop(self, values: Array) -> Array:
        """`values` [R, 3, …] at the look at which each study ended."""
        return values[np.arange(len(self.stop)), self.stop]


def simulate(world: World, replicates: int, seed: int, set_margin: float) -> Studies:
    """`replicates` studies, a fresh random design for every twenty of them."""
    batches = [
        _batch(world, number, min(REPLICATES_PER_DESIGN, replicates - start), seed, set_margin)
        for number, start in enumerate(range(0, replicates, REPLICATES_PER_DESIGN))
    ]
    joined = {
        name: np.concatenate([getattr(batch, name) for batch in batches])
        for name in ("effect", "covered", "code", "code_set", "margin", "stop", "warned", "collapsed", "rank")
    }
    return Studies(**joined, runs=batches[0].runs)


def _batch(world: World, number: int, count: int, seed: int, set_margin: float) -> Studies:
    tricks = world.factors
    draw = np.random.default_rng([seed, number, sum(map(ord, world.name))])
    waves = [screening(tricks, wave=wave, seed=int(draw.integers(2**31))) for wave in (1, 2, 3)]
    frame = pd.concat([wave.frame() for wave in waves], ignore_index=True)
    y = outcomes(world, frame, count, draw)
    collapsed = (y <= DECLARED).any(axis=1) if world.noise == "collapses" else np.zeros(count, dtype=bool)
    if world.noise == "collapses" and world.declared:
        y = np.where(y <= DECLARED, np.nan, y)
    level = nominal_level(LOOKS)
    truth = np.array(world.effects)
    parts: dict[str, list[Array]] = {name: [] for name in ("effect", "covered", "code", "code_set", "margin")}
    per_wave = len(frame) // LOOKS
    for look in range(1, LOOKS + 1):
        runs = look * per_wave
        part = frame.iloc[:runs]
        columns = effect_columns(part, tricks)[1]
        fit = least_squares(np.concatenate([columns, nuisance_columns(part)], axis=1), y[:, :runs])
        effect = fit.coefficients[:, : len(truth)]
        se = fit.standard_errors[:, : len(truth)]
        df = np.broadcast_to(fit.df[:, None], effect.shape)
        margin = MARGIN_IN_SIGMA * fit.sigma
        parts["effect"].append(effect)
        parts["covered"].append(np.abs(effect - truth) <= half_width(se, df, 0.95))
        parts["code"].append(decide(effect, se, df, margin[:, None], level)[0])
        parts["code_set"].append(decide(effect, se, df, set_margin, level)[0])
        parts["margin"].append(margin)
    everything = np.concatenate([effect_columns(frame, tricks)[1], nuisance_columns(frame)], axis=1)
    # The robust fit is the slow part, so a quarter of the studies is asked; NaN: not asked.
    warned = np.full(count, np.nan)
    for i in range(0, count, 4):
        warned[i] = float(np.isnan(y[i]).any() or bool(outlying(everything, y[i])))
    code = np.stack(parts["code"], axis=1)
    finished = (code[:, :, :-1] != 2).all(axis=2)  # the last column, the placebo, is not waited for
    stop = np.where(finished.any(axis=1), finished.argmax(axis=1), LOOKS - 1)
    rank = np.array([_spearman(row, truth) for row in parts["effect"][0]])
    return Studies(
        np.stack(parts["effect"], axis=1), np.stack(parts["covered"], axis=1).astype(bool), code,
        np.stack(parts["code_set"], axis=1), np.stack(parts["margin"], axis=1), stop, warned, collapsed, rank, per_wave,
    )  # fmt: skip


def _spearman(estimate: Array, truth: Array) -> float:
    if not truth.any() or np.isnan(estimate).any():
        return np.nan
    return float(np.corrcoef(stats.rankdata(estimate), stats.rankdata(truth))[0, 1])
