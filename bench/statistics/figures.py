"""The figures that are held against their targets, and what is known of each miss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.statistics.study import LOOKS, Studies
from bench.statistics.world import MARGIN, MIXED, World


@dataclass(frozen=True)
class Figure:
    """One measured figure: `n` is what it is a share or mean of. `low`, `high`: the target."""

    world: str
    name: str
    value: float
    n: int
    low: float
    high: float
    why: str = ""

    @property
    def met(self) -> bool:
        return self.low <= self.value <= self.high

    @property
    def target(self) -> str:
        if self.low == -np.inf and self.high == np.inf:
            return "none"
        if self.low == -np.inf:
            return f"≤ {self.high:g}"
        return f"≥ {self.low:g}" if self.high == np.inf else f"{self.low:g}–{self.high:g}"


def figures(world: World, studies: Studies) -> list[Figure]:
    """Every figure of `statistics.md` for one cell. Shares are over studies, or over studies × tricks."""
    truth = np.array(world.effects)
    count = len(studies.stop)
    nothing, strong = truth == 0, np.abs(truth) >= 1
    final, final_set = studies.at_stop(studies.code), studies.at_stop(studies.code_set)
    covered = studies.at_stop(studies.covered)
    margin = studies.at_stop(studies.margin)[:, None]
    seen = np.arange(LOOKS)[None, :] <= studies.stop[:, None]
    claimed = (np.abs(studies.code) == 1) & seen[:, :, None]
    bound = _no_bound if world.trick_by_seed or not world.declared else _bound
    rows = [
        bound(world, "coverage of 95 % intervals", covered.mean(), covered.size, 0.93, 0.98),
        bound(world, "the same, worst trick", covered.mean(axis=0).min(), count, 0.93, np.inf),
        bound(
            world,
            "family-wise error, any look",
            claimed[:, :, nothing].any(axis=(1, 2)).mean(),
            count,
            -np.inf,
            0.06,
        ),
    ]
    if strong.any():
        large = np.abs(truth) >= margin
        false_none = ((final == 0) & large).sum(axis=0) / np.maximum(large.sum(axis=0), 1)
        often = large.mean(axis=0) >= 0.1
        false_set = ((final_set == 0) & (np.abs(truth) >= MARGIN)).mean(axis=0)
        wrong = (np.abs(final) == 1) & (final != np.sign(truth)) & ~nothing
        right = final == np.sign(truth)
        rows += [
            bound(
                world,
                "false “no effect”, margin 0.95 σ̂, worst trick",
                false_none[often].max(),
                count,
                -np.inf,
                0.05,
            ),
            bound(world, "false “no effect”, margin set, worst trick", false_set.max(), count, -np.inf, 0.05),
            bound(world, "wrong sign, any trick", wrong.any(axis=1).mean(), count, -np.inf, 0.01),
            bound(
                world,
                "right verdict, effects ≥ 1σ",
                right[:, strong].mean(),
                count * int(strong.sum()),
                0.90,
                np.inf,
            ),
            bound(
                world,
                "right verdict, effects of exactly 1σ",
                right[:, np.abs(truth) == 1].mean(),
                count * int((np.abs(truth) == 1).sum()),
                0.90,
                np.inf,
            ),
            bound(
                world, "rank correlation after one wave", float(np.nanmean(studies.rank)), count, 0.80, np.inf
            ),
        ]
    asked = np.isfinite(studies.warned)
    if world.noise == "collapses":
        hit = studies.collapsed & asked
        share = studies.warned[hit].mean()
        rows.append(_bound(world, "warned, where a run collapsed", share, int(hit.sum()), 0.99, np.inf))
    else:
        share = studies.warned[asked].mean()
        rows.append(_no_bound(world, "warned of far-off runs", share, int(asked.sum()), 0, 0))
    return rows


def _bound(world: World, name: str, value: float, n: int, low: float, high: float) -> Figure:
    return Figure(world.name, name, float(value), n, low, high, explanation(world, name, float(value)))


def _no_bound(world: World, name: str, value: float, n: int, low: float, high: float) -> Figure:
    return Figure(world.name, name, float(value), n, -np.inf, np.inf)


def explanation(world: World, name: str, value: float) -> str:
    """Why this target is missed here, or an empty string: then a miss is a failure.

    Each reason holds in one direction and to a limit, so that something newly broken is not excused.
    """
    interacting, mixed = world.truth != "additive", world.effects == MIXED
    if name == "coverage of 95 % intervals" and interacting and 0.98 < value <= 0.99:
        return (
            "above the target: interactions stay in the pooled residual variance, so the intervals of two-level "
            "tricks are wider than need be"
        )
    if name == "the same, worst trick" and mixed and interacting and value >= 0.92:
        return (
            "the levels of a slot are only partly clear of other tricks' interactions, which fall elsewhere in "
            "every wave: their estimates scatter by 0.33 σ instead of 0.26 σ, not biased, and the two levels "
            "are covered in 0.936 and 0.925 of studies"
        )
    if name == "right verdict, effects ≥ 1σ" and mixed and value >= 0.82:
        return (
            "a conditional trick is informed by half of the runs and a level of a three-level slot by two "
            "thirds; `design_power` says so before the first run"
        )
    if name == "right verdict, effects of exactly 1σ" and (interacting or mixed) and value >= 0.72:
        return (
            "interactions of this strength raise the residual σ̂ by about a fifth, and with it the runs that an "
            "effect of 1σ needs; in the world with a slot and a conditional trick fewer runs inform these two"
        )
    return ""
