"""The sequential comparison of two recipes on paired seeds, simulated through `ablate.ranking.estimation.compare.compare`."""

from __future__ import annotations

import numpy as np

from ablate.ranking.estimation.compare import LOOKS, compare
from bench.statistics.figures import Figure
from bench.statistics.world import MARGIN, noise

_SEED_SPREAD = 0.5


def pair_figures(kind: str, replicates: int, seed: int) -> list[Figure]:
    """False verdicts when A = B, false "no effect" at the margin, and power at 2σ; looks at 5, 10, 15, 20 pairs."""
    draw = np.random.default_rng([seed, sum(map(ord, kind))])
    world = f"compare, {kind}"
    figures = []
    for effect, name, low, high in (
        (0.0, "helps or hurts, though equal", -np.inf, 0.06),
        (MARGIN, "“no effect”, though different by the margin", -np.inf, 0.05),
        (2.0, "right verdict for 2σ", 0.90, np.inf),
    ):
        pairs = LOOKS[-1]
        size = (replicates, pairs)
        flat = np.zeros((pairs, 12))
        shared = _SEED_SPREAD * draw.standard_normal(size)
        one = effect + shared + noise(kind, flat, size, draw)
        other = shared + noise(kind, flat, size, draw)
        words = [
            compare(dict(enumerate(a)), dict(enumerate(b)), "higher", margin=MARGIN).verdict
            for a, b in zip(one, other, strict=True)
        ]
        wanted = {0.0: ("helps", "hurts"), MARGIN: ("no measurable effect",), 2.0: ("helps",)}[effect]
        figures.append(
            Figure(world, name, float(np.mean([w in wanted for w in words])), replicates, low, high)
        )
    return figures
