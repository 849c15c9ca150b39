"""Points of the unit cube as trials: what random search, quasi-random search and the first trials draw from.

Each switch and each parameter has a coordinate of its own, also where its trick is off, so that a sequence
that fills the cube evenly fills the space evenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from ablate.records.trick import Value
from ablate.search.dimension import Dimension
from ablate.search.space import OPTIMIZER, Params, Space

# Good recipes of the literature stack some five to ten tricks. Were each of thirty switches thrown by a fair
# coin, no random recipe would ever be near that, nor near the baseline.
DEPARTURES = 8


def random_points(space: Space, seeds: Sequence[int], count: int) -> NDArray[np.float64]:
    """`count` independent points, [count, D]."""
    return np.random.default_rng(seeds).random((count, len(list(space.dimensions()))))


def sobol_points(space: Space, seed: int, start: int, count: int) -> NDArray[np.float64]:
    """Points `start` … of a scrambled Sobol sequence, [count, D]. Owen 1998; Joe & Kuo 2008."""
    from scipy.stats import qmc  # takes a second to import

    engine = qmc.Sobol(len(list(space.dimensions())), scramble=True, rng=np.random.default_rng(seed))
    # The sequence is balanced in powers of two, so that many are drawn; a longer draw begins with a shorter.
    return engine.random_base2((start + count - 1).bit_length())[start : start + count]


def params_at(space: Space, point: NDArray[np.float64], fixed: Params) -> dict[str, Value]:
    """The trial at `point` [D], but for what is `fixed`.

    Every switch but the optimizer's departs from the baseline with probability min(1/2, 8 ÷ switches); the
    optimizer and the parameters are uniform, on a log scale where they have one.
    """
    home = space.to_params(space.baseline)
    departure = min(0.5, DEPARTURES / max(1, len(space.switches)))
    drawn: dict[str, Value] = {}
    for found, u in zip(space.dimensions(), point.tolist(), strict=True):
        if found.name in fixed:
            drawn[found.name] = fixed[found.name]
        elif found.name in home and found in space.switches and found.name != OPTIMIZER:
            drawn[found.name] = _switched(found, home[found.name], u, departure)
        else:
            drawn[found.name] = _value(found, u)
    return active(space, drawn)


def active(space: Space, drawn: Params) -> dict[str, Value]:
    """`drawn` without the parameters of what is off."""
    kept = {switch.name: drawn[switch.name] for switch in space.switches}
    for name in space.on(kept):
        for found in space.settings.get(name, ()):
            if found.constant is None:
                kept[found.name] = drawn[found.name]
    return kept


def _switched(switch: Dimension, home: Value, u: float, departure: float) -> Value:
    others = [choice for choice in switch.choices if choice != home]
    return others[int(u / departure * len(others))] if u < departure else home


def _value(found: Dimension, u: float) -> Value:
    if found.choices:
        return found.choices[int(u * len(found.choices))]
    low, high = found.low, found.high
    if found.integer:
        low, high = low - 0.5 if found.log else low, high + 0.5 if found.log else high + 1
    number = exp(log(low) + u * (log(high) - log(low))) if found.log else low + u * (high - low)
    if found.integer:
        return int(min(max(round(number) if found.log else int(number // 1), found.low), found.high))
    return min(max(number, found.low), found.high)
