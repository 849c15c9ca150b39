"""Data echoing: examples that have been read are used several times before fresh ones are.

    unit = "batch":    step i of an epoch trains on batch ⌊i / factor⌋        (augmented again each time)
    unit = "example":  place j of the epoch's order has example ⌊j / factor⌋

Shapes: places are int64 `[K, N]`, N = steps · B of an epoch; factor is `[K]`. It acts before the catalogue's augmentation, so echoes of an example differ, and after what
a Dataset does at each read, which echoes share. An epoch keeps its number of steps and reads 1 / factor of the examples; the next epoch reads others. Time is saved where
a Dataset is read anew each epoch. Where data is in memory it shows what the echoes cost in accuracy.
Lineage: Choi et al. 2019, section 3 (example echoing and batch echoing, before and after augmentation).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.settings import Settings


def echoed(positions: Tensor, batch_size: int, factor: Tensor, by_batch: Tensor) -> Tensor:
    """Where each place's example is taken from: `positions` int64 `[N]`, factor int64 `[K]`, by_batch bool `[K]` -> `[K, N]`."""
    factor, position = factor[:, None], positions[None]
    of_batch = position // batch_size // factor * batch_size + position % batch_size
    return torch.where(by_batch[:, None], of_batch, position // factor)


def position(positions: Tensor, batch_size: int, p: Settings) -> Tensor:
    by_batch = torch.tensor([unit == "batch" for unit in p.unit], device=positions.device)
    return echoed(positions, batch_size, p.factor.to(torch.int64), by_batch)


TRICK = Trick(
    name="data_echoing",
    title="Data echoing",
    seam="data",
    parameters=(
        Parameter(
            "factor", 2, low=1, high=8, neutral=1, least=1, meaning="uses of an example before a fresh one"
        ),
        Parameter("unit", "batch", choices=("batch", "example"), meaning="what is repeated"),
    ),
    applies_to=("any order",),
    claims=(
        Claim(
            metric="accuracy",
            direction="same",
            statement="the same result from a half to a quarter of the fresh examples: faster where reading them is the bottleneck",
            source=Source(
                "Faster Neural Network Training with Data Echoing",
                "Choi, Passos, Shallue, Dahl",
                2019,
                "https://arxiv.org/abs/1907.05550",
            ),
            contested="large factors cost accuracy; batches of repeated examples are worse than repeated batches that are augmented again",
        ),
    ),
)
