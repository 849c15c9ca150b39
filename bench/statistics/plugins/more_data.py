"""More data: half of every batch comes from training examples that the task keeps back. It helps.

    (x, t)'  =  a kept-back example, drawn anew each step, with probability 1/2;  (x, t) else

Lineage: more examples generalise better (Vapnik). Shapes: x `[K, B, 64]`, target `[K, B, 10]`.
"""

from __future__ import annotations

from planted_data import MORE_TARGETS, MORE_X

from ablate.records.trick import Claim, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    size, device = batch.index.shape[1], batch.x.device
    chosen = (draws.uniform("which", size) < 0.5) & p.like("on", batch.index)
    drawn = (draws.uniform("example", size) * len(MORE_X)).long()
    return batch.replaced(
        x=MORE_X.to(device)[drawn].where(chosen[..., None], batch.x),
        target=MORE_TARGETS.to(device)[drawn].where(chosen[..., None], batch.target),
    )


TRICK = Trick(
    name="more_data",
    title="More training data",
    seam="data",
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="more examples, fewer errors on new ones",
            source=Source("Statistical Learning Theory", "Vapnik", 1998),
        ),
    ),
)
