"""Score over learning rate: a smooth curve through all tuning runs of an arm, whose top is its best rate.

Means of a few runs at neighbouring rates differ by chance about as much as they differ truly; a curve uses the runs of all
rates. It is the posterior mean of a Gaussian process over log₁₀ rate (scikit-learn's), in σ of one run, with correlated curves
for the settings of an arm and a level for each seed, so that rates tried on different seeds are comparable. Real curves are
seldom parabolas: a slow rise, a flat top and a cliff are common, so the curve may bend within LENGTH, as far as its own runs say
(the amplitude of the largest marginal likelihood), and a run far below the best point counts as FLOOR below it. The posterior also tells which rates are worth further runs, and what the
chosen one loses to the unknown best one, which widens the intervals of effects.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, log, log10, sqrt
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
AMPLITUDES = (0.5, 4.0)
"""Least and largest amplitude of a curve, in σ of one run: how far it bends. With LENGTH: likely losses are those that simulated
tuning on two measured tasks has."""
LEVEL, SETTING = 10.0, 3.0
"""Standard deviations of the level of all scores and of the level of a setting, in σ of one run: large, so that they follow the
data."""
LEAST_SEED = 0.3
"""Least standard deviation of the level of a seed, in σ of one run."""
FAR = 1e3
"""A length scale over which nothing changes."""
ALIKE = 0.9
"""Correlation between the curves of two settings of an arm, their levels apart."""
FLOOR = 5.0
"""Standard deviations of one run below the best point at which worse runs are put."""
BEYOND = 2
"""Places of the lattice beyond the rates tried of a setting that are candidates too."""
LIKELY = 60
"""Candidates that are compared by drawn curves: those that may be the best."""
STEEP = 3.0
"""σ between the best and the third best rate, at the most: on a steeper curve they are the unit, not σ."""
TINY = 1e-3
"""Weight of a level of 0 for every seed."""
JITTER = 1e-6
"""Least noise variance of a point, for a solvable system."""
LEAST_RATES = 3
POOLED_DF = 10
"""Degrees of freedom that a reference's σ counts for in an arm's."""
COLLAPSED, TRIMS = 5.0, 3
"""Robust standard deviations below what is expected at which a run has collapsed."""
MAD = 1.4826
"""A normal distribution's standard deviation, in median absolute deviations."""
NEW_SEED = -1
DRAWS = 400
"""Curves drawn from the posterior."""
ROUNDING = 1e-9
"""A spread smaller than this share of the scores is none."""


@dataclass(frozen=True)
class RateCurve:
    """`tried`: the settings of the arm, in the order of the process's inputs, with the lowest and highest rate tried of each.

    `sigma`, `seed_sigma`: standard deviation of one run on a given seed, and of the level of a seed; `unit`: of the process's
    scores.
    """

    process: GaussianProcessRegressor
    tried: Mapping[Recipe, tuple[float, float]]
    sigma: float
    seed_sigma: float
    unit: float

    def heights(self, asked: Sequence[Chosen]) -> Array:
        """Scores `[n]` of (setting, rate), beside an unknown constant."""
        mean, _ = self._predict(asked)
        return mean

    def rates_of(self, setting: Recipe) -> list[float]:
        """The rates of the lattice that may be the setting's best: those between its tried ones, and some beyond."""
        low, high = self.tried[setting]
        return between(lattice(low, -BEYOND), lattice(high, BEYOND))

    def likely_losses(self, setting: Recipe, rates: Sequence[float]) -> list[float]:
        """What each of `rates` loses to the setting's best rate: root mean square over the curves that the runs allow."""
        draws = self._draws([(setting, rate) for rate in (*rates, *self.rates_of(setting))])
        lost = draws.max(axis=1, keepdims=True) - draws[:, : len(rates)]
        return [float(loss) for loss in np.sqrt((lost**2).mean(axis=0))]

    def promising(self, count: int) -> list[Chosen]:
        """The `count` (setting, rate) most worth a run: the top of the curve, then those that are most often the best of
        a curve drawn from the posterior (Thompson sampling), no two of them next to each other."""
        candidates = [(setting, rate) for setting in self.tried for rate in self.rates_of(setting)]
        mean, covariance = self._predict(candidates)
        hopes = mean + 2 * np.sqrt(covariance.diagonal().clip(0.0))
        likely = [candidates[i] for i in np.argsort(-hopes, kind="stable")[:LIKELY]]
        draws = self._draws(likely)
        wins = np.bincount(draws.argmax(axis=1), minlength=len(likely))
        top = candidates[int(mean.argmax())]
        order = [top, *(likely[i] for i in np.argsort(-wins, kind="stable"))]
        found: list[Chosen] = []
        for setting, rate in order:
            near = {lattice(rate, places) for places in (-1, 0, 1)}
            if len(found) < count and not any(own == setting and other in near for own, other in found):
                found.append((setting, rate))
        return found

    def _draws(self, asked: Sequence[Chosen]) -> Array:
        """Scores `[DRAWS, n]` of curves drawn from the posterior."""
        mean, covariance = self._predict(asked)
        return np.random.default_rng(0).multivariate_normal(mean, covariance, DRAWS, method="eigh")

    def _predict(self, asked: Sequence[Chosen]) -> tuple[Array, Array]:
        """Mean `[n]` and covariance `[n, n]` of the scores of (setting, rate) on one new seed, beside an unknown constant."""
        settings = tuple(self.tried)
        inputs = [_input(setting, rate, settings, NEW_SEED) for setting, rate in asked]
        mean, covariance = self.process.predict(np.array(inputs), return_cov=True)
        return mean * self.unit, covariance * self.unit**2


def fit_curve(points: Sequence[Point], reference: RateCurve | None = None) -> RateCurve | None:
    """The curve through an arm's points; `reference`: its reference's, whose deviations count besides.

    None where fewer than LEAST_RATES rates were tried or no spread can be told.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    known = [point for point in points if point.rate is not None and point.runs]
    if len({point.rate for point in known}) < LEAST_RATES:
        return None
    sigma, seed_sigma, levels = deviations(known, reference)
    if not sigma > ROUNDING * max(abs(point.mean) for point in known):
        return None
    unit = max(sigma, _fall(known) / STEEP)
    best = max(
        float(np.mean([score - levels.get(seed, 0.0) for seed, score in point.by_seed.items()]))
        for point in known
    )
    tried = {
        setting: (min(rates), max(rates))
        for setting in dict.fromkeys(setting_of(point.recipe) for point in known)
        if (rates := [p.rate for p in known if p.rate is not None and setting_of(p.recipe) == setting])
    }
    runs = [(setting_of(point.recipe), point.rate, seed, score) for point in known for seed, score in point.by_seed.items()]  # fmt: skip
    inputs = [_input(setting, rate, tuple(tried), seed) for setting, rate, seed, _ in runs]
    scores = [
        (max(score - (level := levels.get(seed, 0.0)) - best, -FLOOR * unit) + level) / unit
        for *_, seed, score in runs
    ]
    each, far = len(tried), [FAR] * len(tried)
    bounds = AMPLITUDES[0] ** 2, AMPLITUDES[1] ** 2
    curve = ConstantKernel(1.0, bounds) * RBF([LENGTH, *[sqrt(-1 / log(ALIKE))] * each, FAR], "fixed")
    level = ConstantKernel(LEVEL**2, "fixed") * RBF([FAR, *far, FAR], "fixed")
    setting_level = ConstantKernel(SETTING**2, "fixed") * RBF([FAR, *[1 / FAR] * each, FAR], "fixed")
    seed_level = ConstantKernel((seed_sigma / unit) ** 2, "fixed") * RBF([FAR, *far, 1 / FAR], "fixed")
    process = GaussianProcessRegressor(
        curve + level + setting_level + seed_level,
        alpha=max((sigma / unit) ** 2, JITTER),
        optimizer=_likeliest,
    )
    with warnings.catch_warnings():  # an amplitude at its bounds is what bounds are for
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(np.array(inputs), np.array(scores))
    return RateCurve(process, tried, sigma, seed_sigma, unit)


def _likeliest(objective: Callable[..., float], start: Array, bounds: Array) -> tuple[Array, float]:
    """The amplitude of the largest marginal likelihood: one number, between its bounds, without gradients."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda theta: objective(np.array([theta]), eval_gradient=False),
        bounds=bounds[0],
        options={"xatol": 0.1},
    )
    return np.array([found.x]), float(found.fun)


def deviations(
    points: Sequence[Point], reference: RateCurve | None = None
) -> tuple[float, float, dict[int, float]]:
    """(standard deviation of one run on a given seed, that of the levels of seeds, place of a seed -> its level).

    Runs of the better half of the points, since at rates near a collapse runs scatter more, are a level of the point plus one of
    the seed plus noise (least squares); runs that collapsed are left out. A reference's deviations count besides. NaN where
    nothing tells them.
    """
    ranked = sorted(points, key=lambda point: -point.mean)[: max(-(-len(points) // 2), 2)]
    runs = [
        (place, seed, score) for place, point in enumerate(ranked) for seed, score in point.by_seed.items()
    ]
    places, seeds = len(ranked), sorted({seed for _, seed, _ in runs})
    design = np.zeros((len(runs), places + len(seeds)))
    for row, (place, seed, _) in enumerate(runs):
        design[row, place] = design[row, places + seeds.index(seed)] = 1.0
    scores = np.array([score for *_, score in runs])
    for _ in range(TRIMS):  # the first fit is bent by the runs that it shall find
        rest = scores - design @ _levels(design, scores, places)
        kept = rest > -COLLAPSED * _spread(rest, np.abs(scores).max())
        design, scores = design[kept], scores[kept]
    solution = _levels(design, scores, places)
    squares = float(((scores - design @ solution) ** 2).sum())
    df = len(scores) - int(np.linalg.matrix_rank(design))
    own, counts = solution[places:], design[:, places:].sum(axis=0)
    levels = dict(zip(seeds, own.tolist(), strict=True))
    if reference is not None:
        pooled = (squares + POOLED_DF * reference.sigma**2) / (df + POOLED_DF)
        return sqrt(pooled), reference.seed_sigma, levels
    if df <= 0:
        return float("nan"), float("nan"), levels
    sigma = sqrt(squares / df)
    between_seeds = float(own.var(ddof=1) - (sigma**2 / counts.clip(1)).mean()) if len(own) > 1 else 0.0
    return sigma, max(sqrt(max(between_seeds, 0.0)), LEAST_SEED * sigma), levels


def _levels(design: Array, scores: Array, places: int) -> Array:
    """Levels of the points and of the seeds, by least squares. Seeds that share no point with the others have no level that data
    could tell: their mean is put at 0."""
    seeds = design.shape[1] - places
    anchors = TINY * np.hstack([np.zeros((seeds, places)), np.eye(seeds)])
    solution: Array = np.linalg.lstsq(np.vstack([design, anchors]), np.append(scores, np.zeros(seeds)))[0]
    return solution


def _spread(rest: Array, largest: float) -> float:
    """The robust standard deviation of residuals, those apart that are 0 since nothing is beside them; ∞ where all are."""
    free = np.abs(rest[np.abs(rest) > 1e-6 * largest])
    return MAD * float(np.median(free)) if len(free) else inf


def setting_of(recipe: Recipe) -> Recipe:
    """The recipe without the optimizer that has the learning rate."""
    return Recipe({name: settings for name, settings in recipe.items() if LR not in settings})


def between(low: float, high: float) -> list[float]:
    """The rates of the lattice from `low` to `high`."""
    rates = [lattice(low)]
    while rates[-1] < 0.999 * high:
        rates.append(lattice(rates[-1], 1))
    return rates


def _input(setting: Recipe, rate: float | None, settings: Sequence[Recipe], seed: int) -> list[float]:
    """log₁₀ rate, an indicator of each setting, and the seed's place."""
    assert rate is not None
    return [log10(rate), *(float(setting == own) for own in settings), float(seed)]


def _fall(points: Sequence[Point]) -> float:
    """From the best to the third best of the rates that were tried; 0 where there are fewer."""
    by_rate: dict[float | None, float] = {}
    for point in points:
        by_rate[point.rate] = max(point.mean, by_rate.get(point.rate, point.mean))
    ordered = sorted(by_rate.values(), reverse=True)
    return ordered[0] - ordered[LEAST_RATES - 1] if len(ordered) >= LEAST_RATES else 0.0
