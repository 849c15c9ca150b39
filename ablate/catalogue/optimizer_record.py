"""The record of an optimizer class as a trick, from its dotted path alone: imports neither the class nor torch."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.records.recipe import torch_name
from ablate.records.trick import NEEDS_RETUNE, OPTIMIZER, Claim, Parameter, Source, Trick

LR = 1e-3
"""Default rate of a class whose `lr` has none."""
REACH = 30.0
"""The factor either way over which `lr` is searched."""


def rate_parameter(rate: float = LR) -> Parameter:
    """The learning rate, searched around `rate`."""
    return Parameter("lr", rate, rate / REACH, rate * REACH, log=True, meaning="learning rate")


def optimizer_record(path: str, parameters: Sequence[Parameter] | None = None) -> Trick:
    """The record of the class at `path`. `parameters`: of the class; None where it is not imported: its rate alone."""
    name = path.rpartition(".")[2]
    return Trick(
        name=torch_name(path),
        title=f"{name} ({path})",
        seam="optimizer",
        slot=OPTIMIZER,
        parameters=(rate_parameter(),) if parameters is None else tuple(parameters),
        roles=(NEEDS_RETUNE,),
        claims=(
            Claim("accuracy", "up", f"{name} as implemented in {path.split('.')[0]}", Source(path, "", 0)),
        ),
    )
