"""The exponential range test: the loss while the rate grows, and the rates that three rules suggest.

Lineage: Smith 2015, arXiv 1506.01186 (section 3.3); the rules *steepest* and *minimum / 10* are those of fastai's
finder, *valley* is the middle of the descent. They often disagree, which is reported.
"""

from __future__ import annotations

import numpy as np

from ablate.protocol.short_runs import Array, moving_average

WINDOW = 9
"""Steps of the centred moving average; a lagging average would bias every suggestion upwards."""
DIVERGED_ABOVE = 4.0
"""The test ends where the loss exceeds this multiple of the lowest one before it."""
MIN_STEPS = 2 * WINDOW
EDGES = 0.05
"""The descent begins where this fraction of the drop is done, and ends where this fraction is left."""


def exponential(low: float, high: float, count: int) -> Array:
    """`count` log-spaced rates from `low` to `high`."""
    return np.geomspace(low, high, count)


def usable(losses: Array) -> int:
    """Number of usable steps: up to the first loss that is not finite or has blown up."""
    broken = np.flatnonzero(~np.isfinite(losses))
    end = int(broken[0]) if len(broken) else len(losses)
    if not end:
        return 0
    smooth = moving_average(losses[:end], WINDOW)
    high = np.flatnonzero(smooth > DIVERGED_ABOVE * np.minimum.accumulate(smooth))
    return int(high[0]) if len(high) else end


def suggestions(rates: Array, losses: Array) -> dict[str, float]:
    """The rates that the three rules suggest; none if the loss hardly falls.

    `rates`, `losses`: `[S]`, the usable part of the test.
    """
    if len(losses) < MIN_STEPS:
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


def disagreement(rates: dict[str, float]) -> float:
    """The ratio of the largest to the smallest suggestion; 1 if there are fewer than two."""
    return max(rates.values()) / min(rates.values()) if len(rates) > 1 else 1.0
