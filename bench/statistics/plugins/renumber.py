"""Renumber the training examples: another order of the same examples, as random as before. It does nothing.

    example n  ->  example (m n + 7) mod 150,   m and 150 coprime

The order of an epoch is a uniform random permutation; behind a fixed renumbering it still is one, so that no
metric changes in distribution, while every single run does. Several renumberings compose into another one,
which makes runs of one seed differ as chance would have it: a no-op that no exact comparison can spot.
Lineage: an A/A test. Shapes: x `[K, B, 64]`, target `[K, B, 10]`, index `[K, B]`.
"""

from __future__ import annotations

from planted_data import TARGETS, TRAINED, X

from ablate.records.trick import Claim, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings

MULTIPLIER = 7


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    index = ((MULTIPLIER * batch.index + 7) % TRAINED).where(p.like("on", batch.index), batch.index)
    return Batch(X.to(batch.x.device)[index], TARGETS.to(batch.x.device)[index], index)


TRICK = Trick(
    name="renumber",
    title="Another order of the same examples",
    seam="data",
    claims=(
        Claim(
            metric="accuracy",
            direction="same",
            statement="nothing changes but chance",
            source=Source("bench/statistics/real.py", "ablate", 2026),
        ),
    ),
)
