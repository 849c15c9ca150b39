"""Slices of a search: each parameter's values and scores, and whether the best is at an edge of its range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, log10
from typing import Any

import numpy as np
import pandas as pd

from ablate.records.digits import rounded
from ablate.records.trick import LR
from ablate.report.numbers import setting

EDGE = 0.05
"""Share of a range from an end within which a value is at that end."""
DECADE = 10.0
"""Factor by which a logarithmic range is widened."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One parameter over the trials that had it on. `edge`: the end of the range, "low" or "high", at which the best value is and beyond which
    there are legal ones, else ""; `beyond`: where a wider range might end there."""

    name: str
    low: float
    high: float
    log: bool
    values: tuple[float, ...]
    scores: tuple[float, ...]
    best: float | None
    edge: str
    beyond: float | None = None

    @property
    def advice(self) -> str:
        """What to change in the study file if the best value is at an edge."""
        where, end = ("lower", self.low) if self.edge == "low" else ("upper", self.high)
        return (
            f"the best {self.name} ({setting(float(self.best or 0.0))}) sits at the {where} edge of its range ({setting(end)}): a wider range "
            f"may hold a better one. In the study file, under [space]: {self.name}.{self.edge} = {self.beyond:g}"
        )


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
    legal: Mapping[str, tuple[float | None, float | None]],
    used: Mapping[str, Any],
) -> list[Slice]:
    """A Slice for every numeric parameter of the space that some complete trial used; edges first.

    `best`: the recipe that the search chose. An edge is one where the range can be widened and that matters: `legal` (the smallest and largest legal
    value of `trick.parameter`) has more beyond it, and `used`, the recipe that is recommended, is at the same edge.
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
        chosen, kept = (_number((recipe.get(trick) or {}).get(parameter)) for recipe in (best, used))
        log = bool(item.get("log")) and low > 0
        edge = at_edge(chosen, low, high, log) if chosen is not None else ""
        if kept is None or at_edge(kept, low, high, log) != edge:
            edge = ""
        beyond = _beyond(item, edge, log, legal[name]) if edge and name in legal else None
        if beyond is None:
            edge = ""
        slices.append(
            Slice(
                name,
                float(low),
                float(high),
                log,
                tuple(column[finite]),
                tuple(score[finite]),
                chosen,
                edge,
                beyond,
            )
        )
    return sorted(slices, key=lambda one: (not one.edge, LR not in one.name.split("."), -len(one.values)))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _beyond(
    item: Mapping[str, Any], edge: str, log: bool, legal: tuple[float | None, float | None]
) -> float | None:
    """The end of a wider range: ten times as far on a logarithmic scale, else as far again as the range is wide; None where the range cannot be widened."""
    low, high, (least, most) = float(item["low"]), float(item["high"]), legal
    if edge == "low":
        if item.get("integer") and low <= 1:
            return None
        wider = max(low / DECADE if log else 2 * low - high, -inf if least is None else least)
        wider = ceil(wider) if item.get("integer") else rounded(wider)
        return wider if wider < low and (wider > 0 or not log) else None
    wider = min(high * DECADE if log else 2 * high - low, inf if most is None else most)
    wider = floor(wider) if item.get("integer") else rounded(wider)
    return wider if wider > high else None
