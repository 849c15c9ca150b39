"""Wrong labels: a fixed share of the training examples bears a class that is not its own. It hurts.

    t' = one-hot(y + 1 + r mod 10),  r in 0 … 8,  for the examples n with hash(n) < share;  t else

Which examples and which wrong classes is a function of the example's number alone, so that every epoch shows
the same wrong labels. Lineage: symmetric label noise (Natarajan et al. 2013). Shapes: target `[K, B, 10]`.
"""

from __future__ import annotations

import torch
from planted_data import CLASSES, TRAINED, Y

from ablate.records.trick import Claim, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings

PERCENT = 5
_generator = torch.Generator().manual_seed(PERCENT)
_order = torch.randperm(TRAINED, generator=_generator)
WRONG = torch.zeros(TRAINED, dtype=torch.bool)
WRONG[_order[: TRAINED * PERCENT // 100]] = True
OTHER = (Y + torch.randint(1, CLASSES, (TRAINED,), generator=_generator)) % CLASSES
NOISY = torch.nn.functional.one_hot(OTHER, CLASSES).float()


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    device = batch.target.device
    wrong = WRONG.to(device)[batch.index] & p.like("on", batch.index)
    return batch.replaced(target=NOISY.to(device)[batch.index].where(wrong[..., None], batch.target))


TRICK = Trick(
    name="wrong_labels",
    title="Wrong labels",
    seam="data",
    claims=(
        Claim(
            metric="accuracy",
            direction="down",
            statement="what is learned from wrong labels is wrong",
            source=Source("Learning with Noisy Labels", "Natarajan, Dhillon, Ravikumar, Tewari", 2013),
        ),
    ),
)
