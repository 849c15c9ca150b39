"""Score over learning rate: a smooth curve through all tuning runs of an arm, whose top is its best rate.

Means of a few runs at neighbouring rates differ by chance about as much as they differ truly; a curve uses the runs of all
rates. It is the posterior mean of a Gaussian process over log₁₀ rate (scikit-learn's), in σ of one run, with correlated curves
for the settings of an arm and a level for each seed, so that rates tried on different seeds are comparable. Each seed has a curve of its own
besides: on an easy split higher rates are better, so that a few seeds say less of the best rate than their noise does. Real curves are
seldom parabolas: a slow rise, a flat top and a cliff are common, so the curve may bend within LENGTH, as far as its own runs say
(the amplitude of the largest marginal likelihood), and a run far below the best point counts as FLOOR below it. The posterior also tells which rates are worth further runs, and what the
chosen one loses to the unknown best one, which widens the intervals of effects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import log10, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ablate.records.recipe import Recipe
from ablate.records.trick import LR
from ablate.study.ranking.curve_covariance import covariances_of, likeliest
from ablate.study.ranking.tuning_points import Point, lattice
from ablate.study.ranking.tuning_scatter import deviations

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

Array = NDArray[np.float64]
Chosen = tuple[Recipe, float]
"""A setting and a rate."""
SPARSE, SURE = 2, 0.2
"""Places of the lattice between rates at which a reference's curve counts, and its least error there, in units."""
FLOOR = 5.0
"""Standard deviations of one run below the best point at which worse runs are put."""
BEYOND = 2
"""Places of the lattice beyond the rates tried of a setting that are candidates too."""
LIKELY = 60
"""Candidates that are compared by drawn curves: those that may be the best."""
STEEP = 3.0
"""σ between the best and the third best rate, at the most: on a steeper curve they are the unit, not σ."""
JITTER = 1e-6
"""Least noise variance of a point, for a solvable system."""
LEAST_RATES = 3
NEW_SEED = -1
DRAWS = 400
"""Curves drawn from the posterior."""
ROUNDING = 1e-9
"""A spread smaller than this share of the scores is none."""


@dataclass(frozen=True)
class RateCurve:
    """`tried`: the settings of the arm, in the order of the process's inputs, with the lowest and highest rate tried of each.

    `sigma`, `seed_sigma`: standard deviation of one run on a given seed, and of the level of a seed; `unit`: of the process's
    scores; `interplay`: standard deviation of a seed's curve from the mean curve. `settings`: the process's inputs: those tried,
    and None for the reference.
    """

    process: GaussianProcessRegressor
    tried: Mapping[Recipe, tuple[float, float]]
    settings: tuple[Recipe | None, ...]
    sigma: float
    seed_sigma: float
    unit: float
    interplay: float

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

    @cached_property
    def shape(self) -> list[tuple[float, float, float]]:
        """Curve of the setting with the highest peak, sampled every SPARSE lattice points: (rate, height, standard error). The peak has height 0."""
        setting = max(
            self.tried, key=lambda own: self.heights([(own, rate) for rate in self.rates_of(own)]).max()
        )
        rates = between(*map(lattice, self.tried[setting]))
        mean, covariance = self._predict([(setting, rate) for rate in rates])
        top = int(mean.argmax())
        variances = covariance.diagonal() + covariance[top, top] - 2 * covariance[top]
        errors = np.sqrt(variances.clip(0.0))
        places = range(top % SPARSE, len(rates), SPARSE)
        return [(rates[i], float(mean[i] - mean[top]), float(errors[i])) for i in places]

    def _draws(self, asked: Sequence[Chosen]) -> Array:
        """Scores `[DRAWS, n]` of curves drawn from the posterior.

        By the symmetric root of the covariance, which is nearly the same whichever processor rounds it: the signs of eigenvectors, by which
        `multivariate_normal` draws, are not.
        """
        mean, covariance = self._predict(asked)
        variances, directions = np.linalg.eigh(covariance)
        root = directions * np.sqrt(variances.clip(0.0)) @ directions.T
        draws: Array = mean + np.random.default_rng(0).standard_normal((DRAWS, len(asked))) @ root
        return draws

    def _predict(self, asked: Sequence[Chosen]) -> tuple[Array, Array]:
        """Mean `[n]` and covariance `[n, n]` of the mean curve at (setting, rate), beside an unknown constant."""
        inputs = np.array([_input(setting, rate, self.settings, NEW_SEED) for setting, rate in asked])
        mean, covariance = self.process.predict(inputs, return_cov=True)
        covariance = covariance - _interplay_of(self.process)(
            inputs
        )  # a new seed's own curve, which no run tells
        return mean * self.unit, covariance * self.unit**2


def fit_curve(
    points: Sequence[Point], reference: RateCurve | None = None, *, alike: bool = False
) -> RateCurve | None:
    """The curve through an arm's points; `reference`: its reference's, whose deviations count besides; `alike`: the arm's curve is
    probably like it, which its rates then say as well.

    None where fewer than LEAST_RATES rates were tried or no spread can be told.
    """
    from sklearn.gaussian_process import GaussianProcessRegressor

    known = [point for point in points if point.rate is not None and point.runs]
    if len({point.rate for point in known}) < LEAST_RATES:
        return None
    sigma, seed_sigma, levels = deviations(
        known, (reference.sigma, reference.seed_sigma) if reference else None
    )
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
    others = reference.shape if reference is not None and alike else []
    settings: tuple[Recipe | None, ...] = (*tried, None) if others else tuple(tried)
    inputs = [_input(setting, rate, settings, seed) for setting, rate, seed, _ in runs]
    inputs += [_input(None, rate, settings, NEW_SEED - 1) for rate, _, _ in others]
    scores = [
        (max(score - (level := levels.get(seed, 0.0)) - best, -FLOOR * unit) + level) / unit
        for *_, seed, score in runs
    ]
    scores += [max(height / unit, -FLOOR) for _, height, _ in others]
    errors = [max(sigma / unit, sqrt(JITTER))] * len(runs) + [max(error / unit, SURE) for *_, error in others]
    covariances = covariances_of(settings, seed_sigma / unit)
    known_interplay = reference.interplay / unit if reference is not None else None
    arrays = np.array(inputs), np.array(scores), np.square(errors)
    amplitudes = likeliest(covariances, *arrays, sigma / unit, known_interplay)
    process = GaussianProcessRegressor(covariances.kernel(amplitudes), alpha=arrays[2], optimizer=None)
    process.fit(*arrays[:2])
    return RateCurve(process, tried, settings, sigma, seed_sigma, unit, unit * sqrt(amplitudes[1]))


def _interplay_of(process: GaussianProcessRegressor) -> Any:
    """The kernel of the curves of single seeds, the last one of the sum."""
    return process.kernel_.k2


@lru_cache(maxsize=4096)
def setting_of(recipe: Recipe) -> Recipe:
    """The recipe without the optimizer that has the learning rate."""
    return Recipe({name: settings for name, settings in recipe.items() if LR not in settings})


def between(low: float, high: float) -> list[float]:
    """The rates of the lattice from `low` to `high`."""
    rates = [lattice(low)]
    while rates[-1] < 0.999 * high:
        rates.append(lattice(rates[-1], 1))
    return rates


def _input(
    setting: Recipe | None, rate: float | None, settings: Sequence[Recipe | None], seed: int
) -> list[float]:
    """log₁₀ rate, an indicator of each setting, and the seed's place."""
    assert rate is not None
    return [log10(rate), *(float(setting == own) for own in settings), float(seed)]


def _fall(points: Sequence[Point]) -> float:
    """Fall of the score from the best to the third best of the rates that were tried; 0 where there are fewer."""
    by_rate: dict[float | None, float] = {}
    for point in points:
        by_rate[point.rate] = max(point.mean, by_rate.get(point.rate, point.mean))
    ordered = sorted(by_rate.values(), reverse=True)
    return ordered[0] - ordered[LEAST_RATES - 1] if len(ordered) >= LEAST_RATES else 0.0
