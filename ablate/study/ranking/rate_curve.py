"""Score over learning rate: a smooth curve through all tuning runs of an arm, whose top is its best rate.

Means of a few runs at neighbouring rates differ by chance about as much as they differ truly; a curve uses the runs of all
rates. It is the posterior mean of a Gaussian process over log₁₀ rate (scikit-learn's), in σ of one run, with correlated curves
for the settings of an arm. Real curves are seldom parabolas: a slow rise, a flat top and a cliff are common, so the curve may
bend within LENGTH, and a score far below the best counts as FLOOR below it. The posterior also tells what the
chosen rate is expected to lose to the unknown best one, which widens the intervals of effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, log10, sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ablate.records.recipe import Recipe
from ablate.study.ranking.arms import LR
from ablate.study.ranking.tuning_points import Point, lattice

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

Array = NDArray[np.float64]
Chosen = tuple[Recipe, float]
"""A setting and a rate."""
LENGTH = 0.4
"""Decades within which a curve bends (the length scale)."""
AMPLITUDE = 2.0
"""How far it bends, in σ of one run. With LENGTH: expected losses are those that simulated tuning on two measured tasks has."""
LEVEL = 10.0
"""Standard deviation of the levels of settings, of first tries and of finalists, in σ of one run: large, so that they follow
the data."""
FAR = 1e3
"""A length scale over which nothing changes."""
ALIKE = 0.8
"""Correlation between the curves of two settings of an arm, their levels apart."""
FLOOR = 6.0
"""Standard deviations of one run below the best point at which worse scores are put."""
STEEP = 3.0
"""σ between the best and the third best rate, at the most: on a steeper curve they are the unit, not σ."""
JITTER = 1e-6
"""Least noise variance of a point, for a solvable system."""
LEAST_RATES = 3
POOLED_DF = 10
"""Degrees of freedom that a reference's σ counts for in an arm's."""
DRAWS = 400
"""Curves drawn from the posterior for an expected loss."""
ROUNDING = 1e-9
"""A spread smaller than this share of the scores is none."""


@dataclass(frozen=True)
class RateCurve:
    """`settings`: of the arm, in the order of the process's inputs. `rates`: the lowest and the highest that were tried.

    `sigma`: standard deviation of one run, seeds' difficulty apart; `unit`: of the process's scores.
    """

    process: GaussianProcessRegressor
    settings: tuple[Recipe, ...]
    rates: tuple[float, float]
    sigma: float
    unit: float

    def heights(self, setting: Recipe, rates: Sequence[float]) -> Array:
        """Scores `[n]` of a setting at `rates`, beside an unknown constant."""
        mean, _ = self._predict([(setting, rate) for rate in rates])
        return mean

    def gain(self, setting: Recipe, rate: float, over: float) -> tuple[float, float]:
        """What `rate` gains over another one, and its standard error."""
        mean, covariance = self._predict([(setting, rate), (setting, over)])
        variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
        return float(mean[0] - mean[1]), float(sqrt(max(variance, 0.0)))

    def expected_loss(self, chosen: Chosen) -> float:
        """Mean, over the curves that the runs allow, of what a (setting, rate) loses to the best rate within those tried."""
        asked = [chosen, *((chosen[0], rate) for rate in between(*self.rates))]
        mean, covariance = self._predict(asked)
        draws = np.random.default_rng(0).multivariate_normal(mean, covariance, DRAWS, method="eigh")
        return float((draws.max(axis=1) - draws[:, 0]).mean())

    def _predict(self, asked: Sequence[Chosen]) -> tuple[Array, Array]:
        """Mean `[n]` and covariance `[n, n]` of the scores of (setting, rate), beside an unknown constant of each setting."""
        inputs = [_input(setting, rate, self.settings) for setting, rate in asked]
        mean, covariance = self.process.predict(np.array(inputs), return_cov=True)
        return mean * self.unit, covariance * self.unit**2


def fit_curve(points: Sequence[Point], reference: RateCurve | None = None) -> RateCurve | None:
    """The curve through an arm's points; `reference`: its reference's, whose σ counts besides.

    None where fewer than LEAST_RATES rates were tried or no spread can be told.
    """
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    known = [point for point in points if point.rate is not None and point.runs]
    if len({point.rate for point in known}) < LEAST_RATES:
        return None
    seen = _means(known)
    sigma = _sigma(seen, reference)
    if not sigma > ROUNDING * max(abs(one.score) for one in seen):
        return None
    unit = max(sigma, _fall(seen) / STEEP)
    best = {
        group: max(one.score for one in seen if one.group == group) for group in {one.group for one in seen}
    }
    scores = [max((one.score - best[one.group]) / unit, -FLOOR) for one in seen]
    noise = [max((sigma / unit) ** 2 / len(one.runs), JITTER) for one in seen]
    settings = tuple(dict.fromkeys(setting_of(one.point.recipe) for one in seen))
    inputs = [_input(setting_of(one.point.recipe), one.point.rate, settings, one.group) for one in seen]
    unlike = [sqrt(-1 / log(ALIKE))] * len(settings)
    curve = ConstantKernel(AMPLITUDE**2) * RBF([LENGTH, *unlike, FAR])
    level = ConstantKernel(LEVEL**2) * RBF([FAR] * (1 + len(settings)) + [1 / FAR])
    offset = ConstantKernel(LEVEL**2) * RBF([FAR, *[1 / FAR] * len(settings), FAR])
    process = GaussianProcessRegressor(curve + level + offset, alpha=np.array(noise), optimizer=None)
    process.fit(np.array(inputs), np.array(scores))
    rates = [point.rate for point in known if point.rate is not None]
    return RateCurve(process, settings, (min(rates), max(rates)), sigma, unit)


def setting_of(recipe: Recipe) -> Recipe:
    """The recipe without the optimizer that has the learning rate."""
    return Recipe({name: settings for name, settings in recipe.items() if LR not in settings})


def between(low: float, high: float) -> list[float]:
    """The rates of the lattice from `low` to `high`."""
    rates = [lattice(low)]
    while rates[-1] < 0.999 * high:
        rates.append(lattice(rates[-1], 1))
    return rates


@dataclass(frozen=True, eq=False)
class _Mean:
    """What one point scored in first tries or as a finalist. Each `group` of points has seeds of its own, so a level of its own."""

    point: Point
    group: int
    runs: Array

    @property
    def score(self) -> float:
        return float(self.runs.mean())


def _means(points: Sequence[Point]) -> list[_Mean]:
    return [
        _Mean(point, group, np.array(runs))
        for point in points
        for group, runs in enumerate((point.scores, point.final))
        if runs
    ]


def _input(setting: Recipe, rate: float | None, settings: Sequence[Recipe], group: int = 0) -> list[float]:
    """log₁₀ rate, an indicator of each setting, and the group of seeds."""
    assert rate is not None
    return [log10(rate), *(float(setting == own) for own in settings), float(group)]


def _fall(seen: Sequence[_Mean]) -> float:
    """From the best to the third best of the rates in first tries; 0 where there are fewer."""
    by_rate: dict[float | None, float] = {}
    for one in seen:
        if one.group == 0:
            by_rate[one.point.rate] = max(one.score, by_rate.get(one.point.rate, one.score))
    ordered = sorted(by_rate.values(), reverse=True)
    return ordered[0] - ordered[LEAST_RATES - 1] if len(ordered) >= LEAST_RATES else 0.0


def _sigma(seen: Sequence[_Mean], reference: RateCurve | None) -> float:
    """Standard deviation of one run, points' and seeds' means taken out; NaN where nothing tells it.

    From the better half of the points: at rates near a collapse runs scatter more.
    """
    squares, df = 0.0, 0
    for group in (0, 1):
        ranked = sorted((one for one in seen if one.group == group), key=lambda one: -one.score)
        better = [one.runs for one in ranked[: max(-(-len(ranked) // 2), 2)]]
        shared = min((len(runs) for runs in better), default=0)
        if len(better) > 1 and shared > 1:
            table = np.array([runs[:shared] for runs in better])
            rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
            squares += float((rest**2).sum())
            df += (len(better) - 1) * (shared - 1)
    if reference is not None:
        return sqrt((squares + POOLED_DF * reference.sigma**2) / (df + POOLED_DF))
    return sqrt(squares / df) if df else float("nan")
