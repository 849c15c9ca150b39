"""Gaussian noise on the inputs, in the scale of each input.

    x' = x + s σ n,    n ~ N(0, 1)

Shapes: x is `[K, B, …]`; n has x's shape and is redrawn every step; σ is the deviation over the batch of each column of a table, of all
numbers otherwise (`seams/deviation.py`); s is `[K]`. For small s it is a penalty on the function's slope (Tikhonov).
Lineage: Bishop 1995, equation 3.
"""

from __future__ import annotations

from torch import Tensor

from ablate.records.errors import NotApplicable
from ablate.records.trick import Claim, Parameter, Source, Trick
from ablate.seams.batch import Batch
from ablate.seams.deviation import deviation
from ablate.seams.draws import Draws
from ablate.seams.settings import Settings


def noisy(x: Tensor, noise: Tensor, share: Tensor) -> Tensor:
    """x + s σ n, `[K, B, …]`; s `[K, 1, …]`. The input itself where s is zero."""
    return (x + share * deviation(x) * noise).where(share > 0, x)


def batch(batch: Batch, draws: Draws, p: Settings) -> Batch:
    x = batch.x
    if not x.is_floating_point():
        raise NotApplicable("'input_noise' cannot add noise to inputs that are numbers of tokens")
    noise = draws.normal("noise", *x.shape[1:]).to(x.dtype)
    return batch.replaced(x=noisy(x, noise, p.like("share", x)))


TRICK = Trick(
    name="input_noise",
    title="Gaussian noise on the inputs",
    seam="data",
    parameters=(
        Parameter(
            "share", 0.1, low=0.0, high=0.5, neutral=0.0, meaning="deviation of the noise, in the inputs' own"
        ),
    ),
    applies_to=("continuous",),
    claims=(
        Claim(
            metric="loss",
            direction="down",
            statement="regularises: for small noise, equivalent to a penalty on the function's derivatives",
            source=Source(
                "Training with Noise is Equivalent to Tikhonov Regularization",
                "Bishop",
                1995,
                "https://doi.org/10.1162/neco.1995.7.1.108",
            ),
        ),
    ),
)
