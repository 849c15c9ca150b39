"""Placebo: a trick that does nothing.

    batch' = batch

It takes part in every ranking like any other trick, with an effect, an interval and a verdict. A method of
analysis that finds an effect of it finds effects of nothing; tricks that rank no higher deserve no belief.
Lineage: the random probe of feature selection (Stoppiglia et al. 2003), ranked among the real ones.
"""

from __future__ import annotations

from ablate.records.trick import Claim, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    return batch


TRICK = Trick(
    name="placebo",
    title="Placebo",
    seam="data",
    searched=False,
    claims=(
        Claim(
            metric="loss",
            direction="same",
            statement="nothing changes, in any metric: not one bit of any weight",
            source=Source(
                "Ranking a Random Feature for Variable and Feature Selection",
                "Stoppiglia, Dreyfus, Dubois, Oussar",
                2003,
                "https://www.jmlr.org/papers/v3/stoppiglia03a.html",
            ),
        ),
    ),
)
