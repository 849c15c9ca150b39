"""Covariance of the scores of two tuning runs, and its likeliest amplitudes, for the Gaussian process of `rate_curve`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ablate.records.recipe import Recipe

if TYPE_CHECKING:
    from sklearn.gaussian_process.kernels import Kernel

Array = NDArray[np.float64]
LENGTH = 0.4
"""Decades within which a curve bends (the length scale)."""
AMPLITUDES = (0.5, 4.0)
"""Least and largest amplitude of a curve, in σ of one run: how far it bends. With LENGTH: likely losses are those that simulated
tuning on two measured tasks has."""
LEVEL, SETTING = 10.0, 3.0
"""Standard deviations of the level of all scores and of the level of a setting, in σ of one run: large, so that they follow the
data."""
INTERPLAY, SHAPE = (0.05, 2.0), 0.8
"""Least and largest deviation of a seed's curve from the mean curve, in σ of one run, and the decades within which it bends. On breast-cancer,
diabetes and mammography, where each seed has a split of its own, the likelihood of references' tuning runs is largest at 0.7 to 1.5 (n = 104 to
232 runs, up to 12 log units above none); on digits at none."""
USUAL, PRIOR = 0.7, 0.7
"""Median of the interplay's log-normal prior, in σ of one run, and the deviation of its logarithm. A few runs do not tell it: after 56 to 104 runs of a
reference its likelihood was largest at none in three of ten studies of breast-cancer, which held nearly all of their false verdicts."""
FAR = 1e3
"""A length scale over which nothing changes."""
ALIKE = 0.9
"""Correlation between the curves of two settings of an arm, their levels apart."""
AS_REFERENCE = 0.85
"""Correlation of an arm's curve with its reference's. The likelihood of the tuning runs of 384 arms with their reference's optimizer is largest at 0.8 to 0.9, 667
log units above none (one study each of breast-cancer, diabetes, digits, mammography and wine)."""
Amplitudes = tuple[float, float]
"""Variances of an arm's curve and of its interplay with seeds, in squared units."""


@dataclass(frozen=True)
class Covariances:
    """The parts of the covariance of two runs, in units. `curve`, `interplay`: of amplitude one; `levels`: known."""

    curve: Kernel
    levels: Kernel
    interplay: Kernel

    def kernel(self, amplitudes: Amplitudes) -> Kernel:
        """Their sum."""
        from sklearn.gaussian_process.kernels import ConstantKernel

        curve, interplay = (ConstantKernel(variance, "fixed") for variance in amplitudes)
        return curve * self.curve + self.levels + interplay * self.interplay


def covariances_of(settings: Sequence[Recipe | None], seed_sigma: float) -> Covariances:
    """The covariance of runs whose inputs are log₁₀ rate, an indicator of each of `settings` (None: the reference's), and a seed's place. `seed_sigma`: the standard
    deviation of the level of a seed, in units."""
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    near, far = 1 / FAR, [FAR] * len(settings)
    lengths = [
        sqrt(-1 / log(ALIKE)) if setting is not None else 1 / sqrt(log(ALIKE) - 2 * log(AS_REFERENCE))
        for setting in settings
    ]
    level = ConstantKernel(LEVEL**2, "fixed") * RBF([FAR, *far, FAR], "fixed")
    setting_level = ConstantKernel(SETTING**2, "fixed") * RBF([FAR, *[near] * len(settings), FAR], "fixed")
    seed_level = ConstantKernel(seed_sigma**2, "fixed") * RBF([FAR, *far, near], "fixed")
    return Covariances(
        RBF([LENGTH, *lengths, FAR], "fixed"),
        level + setting_level + seed_level,
        RBF([SHAPE, *far, near], "fixed"),
    )


def likeliest(
    covariances: Covariances,
    inputs: Array,
    scores: Array,
    noise: Array,
    sigma: float,
    interplay: float | None,
) -> Amplitudes:
    """The variances of the curve and of its interplay with seeds, of the largest marginal likelihood between their bounds. `interplay`: its
    deviation, None if the runs are to tell it.

    Both scale a matrix that stays as it is, which scikit-learn's search would compute anew at each step.
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve
    from scipy.optimize import minimize, minimize_scalar

    curve, own = covariances.curve(inputs), covariances.interplay(inputs)
    known = covariances.levels(inputs) + np.diag(noise)

    def surprise(amplitudes: Array) -> float:
        """Minus the logarithm of the marginal likelihood, beside a constant (Rasmussen & Williams 2006, 2.30)."""
        try:
            factor = cho_factor(amplitudes[0] * curve + amplitudes[1] * own + known, lower=True)
        except LinAlgError:
            return inf
        return float(scores @ cho_solve(factor, scores) / 2 + np.log(factor[0].diagonal()).sum())

    bounds = [
        (2 * log(least), 2 * log(most))
        for least, most in (AMPLITUDES, (INTERPLAY[0] * sigma, INTERPLAY[1] * sigma))
    ]
    if interplay is not None:
        variance = interplay**2
        found: Any = minimize_scalar(
            lambda theta: surprise(np.array([exp(theta), variance])),
            bounds=bounds[0],
            options={"xatol": 0.1},
        )
        return exp(found.x), variance
    start = np.array([0.0, 2 * log(sigma)])

    def penalised(theta: Array) -> float:
        """The interplay's deviation has a log-normal prior."""
        return surprise(np.exp(theta)) + float(theta[1] / 2 - log(USUAL * sigma)) ** 2 / (2 * PRIOR**2)

    simplex = np.add(start, [[0, 0], [1, 0], [0, -2]])
    options: Any = {"xatol": 0.1, "fatol": 0.05, "initial_simplex": simplex}
    limits: Any = bounds
    found = minimize(penalised, start, bounds=limits, method="Nelder-Mead", options=options)
    return exp(found.x[0]), exp(found.x[1])
