"""How much tuning runs scatter: the standard deviation of one run, and of the level of a seed."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray

from ablate.study.ranking.tuning_points import Point

Array = NDArray[np.float64]
LEAST_SEED = 0.3
"""Least standard deviation of the level of a seed, in σ of one run."""
TINY = 1e-3
"""Weight of a level of 0 for every seed."""
POOLED_DF = 10
"""Degrees of freedom that a reference's σ counts for in an arm's."""
COLLAPSED, TRIMS = 5.0, 3
"""Robust standard deviations below what is expected at which a run has collapsed."""
MAD = 1.4826
"""A normal distribution's standard deviation, in median absolute deviations."""


def deviations(
    points: Sequence[Point], reference: tuple[float, float] | None = None
) -> tuple[float, float, dict[int, float]]:
    """(standard deviation of one run on a given seed, that of the levels of seeds, place of a seed -> its level).

    Runs of the better half of the points, since at rates near a collapse runs scatter more, are a level of the point plus one of
    the seed plus noise (least squares); runs that collapsed are left out. A reference's two standard deviations count besides. NaN where
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
        pooled = (squares + POOLED_DF * reference[0] ** 2) / (df + POOLED_DF)
        return sqrt(pooled), reference[1], levels
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
