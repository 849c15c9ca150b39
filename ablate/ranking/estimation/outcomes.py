"""Which runs enter a mean, and which are reported as failures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.ranking.estimation.coding import require
from ablate.records.errors import InputError, unknown

Direction = Literal["higher", "lower"]
FAILURES = ("diverged", "failed", "out_of_memory")


@dataclass(frozen=True, slots=True)
class RunMasks:
    """Row masks [n] of a table of runs.

    `used`: complete, with a finite metric. `failed`: a result, counted as such (diverged, failed, out of
    memory, collapsed, or complete without a finite metric). The others (pruned, interrupted) were stopped
    from outside and say nothing about the trick.
    """

    values: NDArray[np.float64]
    used: NDArray[np.bool_]
    failed: NDArray[np.bool_]

    @property
    def excluded(self) -> NDArray[np.bool_]:
        """bool `[N]`: runs that neither enter nor failed."""
        return ~self.used & ~self.failed


def check_direction(direction: str) -> Direction:
    """`direction` as given, or InputError."""
    if direction not in get_args(Direction):
        raise unknown("direction", direction, get_args(Direction))
    return cast(Direction, direction)


def classify(
    frame: pd.DataFrame, metric: str, direction: str = "higher", *, collapse: float | None = None
) -> RunMasks:
    """Sort the runs. `collapse`: a metric this bad or worse (e.g. chance level) is a failure, not a value.

    The metric's values are returned signed so that higher is better. Raises InputError.
    """
    check_direction(direction)
    require(frame, [metric], "metric")
    try:
        raw = pd.to_numeric(frame[metric]).to_numpy(dtype=float, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise InputError(f"column '{metric}' is not a number throughout: {error}") from error
    sign = 1.0 if direction == "higher" else -1.0
    values = sign * raw
    outcome = (
        frame["outcome"].astype(str).to_numpy()
        if "outcome" in frame.columns
        else np.full(len(frame), "complete")
    )
    complete = outcome == "complete"
    finite = np.isfinite(values)
    collapsed = np.zeros(len(frame), dtype=bool)
    if collapse is not None:
        collapsed = complete & finite & (values <= sign * collapse)
    failed = np.isin(outcome, FAILURES) | (complete & ~finite) | collapsed
    return RunMasks(values, complete & finite & ~collapsed, failed)
