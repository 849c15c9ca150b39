"""Points of the unit cube as trials, for random search, quasi-random search and the first generations.

Each switch and each parameter has its own coordinate, even if its trick is off, so that a sequence
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

# Good recipes in the literature combine five to ten tricks. If each of thirty switches were a fair
# coin, no random recipe would be close to that, or to the baseline.
DEPARTURES = 8


def random_points(space: Space, seeds: Sequence[int], count: int) -> NDArray[np.float64]:
    """`count` independent points, [count, D]."""
    return np.random.default_rng(seeds).random((count, len(list(space.dimensions()))))


def sobol_points(space: Space, seed: int, start: int, count: int) -> NDArray[np.float64]:
    """Points `start` … of a scrambled Sobol sequence, [count, D]. Owen 1998; Joe & Kuo 2008."""
    from scipy.stats import qmc  # takes a second to import

    engine = qmc.Sobol(len(list(space.dimensions())), scramble=True, rng=np.random.default_rng(seed))
    # The sequence is balanced at powers of two, so that many points are drawn; a longer draw begins with a shorter one.
    return engine.random_base2((start + count - 1).bit_length())[start : start + count]


def params_at(space: Space, point: NDArray[np.float64], fixed: Params) -> dict[str, Value]:
    """The trial at `point` [D], with the values in `fixed`.

    Every switch but the optimizer's departs from the baseline with probability min(1/2, 8 ÷ switches); the
    optimizer and the parameters are uniform, on a log scale if they have one.
    """
    baseline = space.to_params(space.baseline)
    departure = min(0.5, DEPARTURES / max(1, len(space.switches)))
    drawn: dict[str, Value] = {}
    for dim, u in zip(space.dimensions(), point.tolist(), strict=True):
        if dim.name in fixed:
            drawn[dim.name] = fixed[dim.name]
        elif dim.name in baseline and dim in space.switches and dim.name != OPTIMIZER:
            drawn[dim.name] = _switched(dim, baseline[dim.name], u, departure)
        else:
            drawn[dim.name] = _value(dim, u)
    return drop_inactive(space, drawn)


def drop_inactive(space: Space, drawn: Params) -> dict[str, Value]:
    """`drawn` without the parameters of tricks that are off."""
    params = {switch.name: drawn[switch.name] for switch in space.switches}
    for name in space.on(params):
        for dim in space.settings.get(name, ()):
            if dim.constant is None:
                params[dim.name] = drawn[dim.name]
    return params


def _switched(switch: Dimension, baseline: Value, u: float, departure: float) -> Value:
    others = [choice for choice in switch.choices if choice != baseline]
    return others[int(u / departure * len(others))] if u < departure else baseline


def _value(dim: Dimension, u: float) -> Value:
    if dim.choices:
        return dim.choices[int(u * len(dim.choices))]
    low, high = dim.low, dim.high
    if dim.integer:
        low, high = low - 0.5 if dim.log else low, high + 0.5 if dim.log else high + 1
    number = exp(log(low) + u * (log(high) - log(low))) if dim.log else low + u * (high - low)
    if dim.integer:
        return int(min(max(round(number) if dim.log else int(number // 1), dim.low), dim.high))
    return min(max(number, dim.low), dim.high)
