"""The exponential range test: the loss while the rate grows, and what rate each of three rules reads off it.

Lineage: Smith 2015, arXiv 1506.01186 (section 3.3); the rules *steepest* and *minimum / 10* of fastai's finder,
and *valley*, the middle of the longest way down. They often disagree: that is shown, not hidden.
"""

from __future__ import annotations

import numpy as np

from ablate.protocol.explore import Array

SMOOTHING = 0.95
BLOWN_UP = 4.0
"""The test is over where the smoothed loss stands this many times above the lowest."""


def exponential(low: float, high: float, count: int) -> Array:
    """`count` rates from `low` to `high`, evenly spaced in the logarithm."""
    return np.geomspace(low, high, count)


def smoothed(losses: Array, beta: float = SMOOTHING) -> Array:
    """Exponential moving average, corrected for its start at zero: mₜ = β mₜ₋₁ + (1 − β) lₜ, mₜ / (1 − βᵗ)."""
    out = np.empty(len(losses))
    mean = 0.0
    for step, value in enumerate(losses):
        mean = beta * mean + (1 - beta) * float(value)
        out[step] = mean / (1 - beta ** (step + 1))
    return out


def usable(losses: Array) -> int:
    """How many steps of the test count: up to the first loss that is not finite or has blown up."""
    finite = np.flatnonzero(~np.isfinite(losses))
    end = int(finite[0]) if len(finite) else len(losses)
    smooth = smoothed(losses[:end])
    lowest = np.minimum.accumulate(smooth) if end else smooth
    high = np.flatnonzero(smooth > BLOWN_UP * np.maximum(lowest, 1e-12))
    return int(high[0]) if len(high) else end


def suggestions(rates: Array, losses: Array) -> dict[str, float]:
    """Rates that the three rules suggest; none where the loss never falls.

    rates, losses: `[S]`, the part of the test that counts (`usable`).
    """
    if len(losses) < 10:
        return {}
    smooth = smoothed(losses)
    lowest = int(smooth.argmin())
    if lowest == 0:
        return {}
    slope = np.gradient(smooth[: lowest + 1], np.log(rates[: lowest + 1])) if lowest >= 2 else np.zeros(1)
    found = {"minimum / 10": float(rates[lowest]) / 10}
    if slope.min() < 0:
        found["steepest"] = float(rates[int(slope.argmin())])
    start, end = longest_descent(smooth)
    if end > start:
        found["valley"] = float(rates[(start + end) // 2])
    return found


def longest_descent(values: Array) -> tuple[int, int]:
    """First and last position of the longest strictly decreasing subsequence, in O(n log n).

    A subsequence, not a run: noise on the way down does not cut it.
    """
    tails: list[int] = []  # positions of the best last element for each length
    before = np.full(len(values), -1, dtype=np.int64)
    for place, value in enumerate(values):
        low = int(np.searchsorted([-values[tail] for tail in tails], -value, side="left"))
        before[place] = tails[low - 1] if low else -1
        tails[low : low + 1] = [place]
    if not tails:
        return 0, 0
    first = last = tails[-1]
    while before[first] >= 0:
        first = int(before[first])
    return first, last


def disagreement(found: dict[str, float]) -> float:
    """The largest suggestion over the smallest; 1 where there are fewer than two."""
    return max(found.values()) / min(found.values()) if len(found) > 1 else 1.0
