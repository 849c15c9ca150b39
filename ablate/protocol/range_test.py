"""The exponential range test: the loss while the rate grows, and what rate each of three rules reads off it.

Lineage: Smith 2015, arXiv 1506.01186 (section 3.3); the rules *steepest* and *minimum / 10* are those of fastai's
finder, *valley* is the middle of the way down. They often disagree: that is shown, not hidden.
"""

from __future__ import annotations

import numpy as np

from ablate.protocol.short_runs import Array, moving_average

WINDOW = 9
"""Steps over which losses are averaged; centred, since an average that lags moves every suggestion upwards."""
BLOWN_UP = 4.0
"""The test is over where the loss stands this many times above the lowest before it."""
FEWEST = 2 * WINDOW
EDGES = 0.05
"""The way down begins where this share of the drop is done, and ends where only this share is left."""


def exponential(low: float, high: float, count: int) -> Array:
    """`count` rates from `low` to `high`, evenly spaced in the logarithm."""
    return np.geomspace(low, high, count)


def usable(losses: Array) -> int:
    """How many steps of the test count: up to the first loss that is not finite or has blown up."""
    broken = np.flatnonzero(~np.isfinite(losses))
    end = int(broken[0]) if len(broken) else len(losses)
    if not end:
        return 0
    smooth = moving_average(losses[:end], WINDOW)
    high = np.flatnonzero(smooth > BLOWN_UP * np.minimum.accumulate(smooth))
    return int(high[0]) if len(high) else end


def suggestions(rates: Array, losses: Array) -> dict[str, float]:
    """Rates that the three rules suggest; none where the loss hardly falls.

    rates, losses: `[S]`, the part of the test that counts (`usable`).
    """
    if len(losses) < FEWEST:
        return {}
    smooth = np.convolve(losses, np.full(WINDOW, 1 / WINDOW), mode="valid")  # whole windows only
    rates = rates[WINDOW // 2 : WINDOW // 2 + len(smooth)]
    lowest = int(smooth.argmin())
    drop = float(smooth[0] - smooth[lowest])
    if lowest < 3 or drop < EDGES * abs(float(smooth[0])):
        return {}
    done = (smooth[0] - smooth[: lowest + 1]) / drop
    end = int(np.argmax(done > 1 - EDGES))
    begin = int(np.flatnonzero(done[: end + 1] <= EDGES)[-1])
    slope = np.diff(smooth[begin : end + 1])  # the rates' logarithms are evenly spaced
    steepest = begin + int(slope.argmin())
    return {
        "minimum / 10": float(rates[lowest]) / 10,
        "steepest": float(np.sqrt(rates[steepest] * rates[steepest + 1])),
        "valley": float(np.sqrt(rates[begin] * rates[end])),
    }


def disagreement(found: dict[str, float]) -> float:
    """The largest suggestion over the smallest; 1 where there are fewer than two."""
    return max(found.values()) / min(found.values()) if len(found) > 1 else 1.0
