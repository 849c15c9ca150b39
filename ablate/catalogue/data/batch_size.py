"""Batch size: how many examples one step's gradient is averaged over.

    g = (1 / B) Σ_i ∇ℓ_i,   an epoch has ⌊N / B⌋ steps

The budget is counted in epochs, so a smaller batch means more steps (and, alone on a device, more time). B is
cut to the size of the training split; all lanes of a group share it. The best learning rate depends on B
(linear or square-root scaling), so a comparison at one rate says little.
Lineage: Keskar et al. 2016 (1609.04836); Masters & Luschi 2018 (1804.07612): best results at B ≤ 32.
"""

from __future__ import annotations

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings


def batch_size(p: Settings) -> int:
    return int(p.value("size"))


TRICK = Trick(
    name="batch_size",
    title="Batch size",
    seam="data",
    parameters=(
        Parameter("size", 32, low=16, high=512, log=True, lane=False, least=1, meaning="examples in a batch"),
    ),
    roles=("needs_retune",),
    claims=(
        Claim(
            metric="accuracy",
            direction="up",
            statement="small batches (32 and below) generalise better than large ones and allow a wider range of rates",
            source=Source(
                "Revisiting Small Batch Training for Deep Neural Networks",
                "Masters, Luschi",
                2018,
                "https://arxiv.org/abs/1804.07612",
            ),
            contested=(
                "where the learning rate is tuned for each size and the budget is counted in steps, no loss from"
                " large batches is found (Shallue et al. 2018, 1811.03600)"
            ),
        ),
    ),
)
