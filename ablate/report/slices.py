"""Slices of a search: each parameter's values and scores, and whether the best is at an edge of its range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

import numpy as np
import pandas as pd

from ablate.report.numbers import setting

EDGE = 0.05


@dataclass(frozen=True, slots=True)
class Slice:
    """One parameter over the trials that had it on. `edge`: "low", "high" or ""."""

    name: str
    low: float
    high: float
    log: bool
    values: tuple[float, ...]
    scores: tuple[float, ...]
    best: float | None
    edge: str

    @property
    def advice(self) -> str:
        """What to change if the best value is at an edge."""
        where, end = ("lower", self.low) if self.edge == "low" else ("upper", self.high)
        return f"the best {self.name} ({setting(float(self.best or 0.0))}) sits at the {where} edge of its range ({setting(end)}): a wider one in [space] may hold a better one"


def at_edge(best: float, low: float, high: float, log: bool) -> str:
    """ "low" or "high" where `best` lies within 5 % of the range (on its own scale) of an end, else ""."""
    if not low < high:
        return ""
    fraction = log10(best / low) / log10(high / low) if log and best > 0 else (best - low) / (high - low)
    return "low" if fraction <= EDGE else "high" if fraction >= 1 - EDGE else ""


def slices_of(
    trials: pd.DataFrame,
    space: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any],
    metric: str,
) -> list[Slice]:
    """A Slice for every numeric parameter of the space that some complete trial used; edges first.

    An end that cannot be widened (0, or 1 on a linear scale: a probability) is no edge.
    """
    slices = []
    complete = trials[trials["outcome"] == "complete"]
    for item in space:
        name, low, high = str(item.get("name", "")), item.get("low"), item.get("high")
        if item.get("choices") or low is None or high is None or not low < high or name not in complete:
            continue
        column = pd.to_numeric(complete[name], errors="coerce")
        score = pd.to_numeric(complete[metric], errors="coerce")
        finite = column.notna() & score.notna() & np.isfinite(column) & np.isfinite(score)
        if not finite.any():
            continue
        trick, _, parameter = name.partition(".")
        chosen = (best.get(trick) or {}).get(parameter)
        chosen = float(chosen) if isinstance(chosen, int | float) and not isinstance(chosen, bool) else None
        log = bool(item.get("log")) and low > 0
        edge = at_edge(chosen, low, high, log) if chosen is not None else ""
        end = low if edge == "low" else high
        if end == 0 or (end == 1 and not log):
            edge = ""
        slices.append(
            Slice(
                name, float(low), float(high), log, tuple(column[finite]), tuple(score[finite]), chosen, edge
            )
        )
    return sorted(slices, key=lambda one: (not one.edge, "lr" not in one.name.split("."), -len(one.values)))
