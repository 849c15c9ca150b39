"""Slices: each searched parameter against the metric, and a warning where the best sits at an edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablate.report.clean import shorten
from ablate.report.numbers import Units, plural, setting
from ablate.report.plots.axes import dots, finite, log_axis, note, plain_numbers
from ablate.report.plots.palette import BLUE, INK, MUTED, ORANGE, PALE
from ablate.report.plots.picture import Picture, picture

EDGE = 0.05
COLUMNS = 4


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
        where, end = ("lower", self.low) if self.edge == "low" else ("upper", self.high)
        return f"the best {self.name} ({setting(float(self.best or 0.0))}) sits at the {where} edge of its range ({setting(end)}): widen it"


def at_edge(best: float, low: float, high: float, log: bool) -> str:
    """ "low" or "high" where `best` lies within 5 % of the range (on its own scale) of an end, else ""."""
    if not low < high:
        return ""
    place = log10(best / low) / log10(high / low) if log and best > 0 else (best - low) / (high - low)
    return "low" if place <= EDGE else "high" if place >= 1 - EDGE else ""


def slices_of(
    trials: pd.DataFrame,
    space: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any],
    metric: str,
) -> list[Slice]:
    """A Slice for every numeric parameter of the space that some complete trial used; edges first.

    An end that cannot be widened (0, or 1 on a linear scale: a probability) is no edge.
    """
    found = []
    complete = trials[trials["outcome"] == "complete"]
    for item in space:
        name, low, high = str(item.get("name", "")), item.get("low"), item.get("high")
        if item.get("choices") or low is None or high is None or not low < high or name not in complete:
            continue
        column = pd.to_numeric(complete[name], errors="coerce")
        score = pd.to_numeric(complete[metric], errors="coerce")
        known = column.notna() & score.notna() & np.isfinite(column) & np.isfinite(score)
        if not known.any():
            continue
        trick, _, parameter = name.partition(".")
        chosen = (best.get(trick) or {}).get(parameter)
        chosen = float(chosen) if isinstance(chosen, int | float) and not isinstance(chosen, bool) else None
        log = bool(item.get("log")) and low > 0
        edge = at_edge(chosen, low, high, log) if chosen is not None else ""
        end = low if edge == "low" else high
        if end == 0 or (end == 1 and not log):
            edge = ""
        found.append(
            Slice(name, float(low), float(high), log, tuple(column[known]), tuple(score[known]), chosen, edge)
        )
    return sorted(found, key=lambda one: (not one.edge, "lr" not in one.name.split("."), -len(one.values)))


def slices(
    panels: Sequence[Slice], metric: str, units: Units, *, higher: bool, name: str = "search-slices"
) -> Picture:
    """Small multiples, one panel a parameter, all with the metric upwards on one scale."""
    rows = -(-len(panels) // COLUMNS)
    scores = finite(np.concatenate([panel.scores for panel in panels]) * units.factor)
    low, high = (float(scores.min()), float(scores.max())) if len(scores) else (0.0, 1.0)
    if len(scores):
        low, high = (np.percentile(scores, 4), high) if higher else (low, np.percentile(scores, 96))
    room = 0.08 * (high - low) or 0.5

    def paint(figure: Figure) -> None:
        axes = figure.subplots(rows, COLUMNS, sharey=True, squeeze=False).ravel()
        for ax, panel in zip(axes, panels, strict=False):
            _panel(ax, panel, units.factor, (low, high))
            ax.set_ylim(low - room, high + room)
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        figure.supylabel(f"{shorten(metric, 40)}{units.unit and ' (%)'}", fontsize=11.5, color=MUTED)

    edges = [panel.name for panel in panels if panel.edge]
    return picture(
        name,
        paint,
        height=round(24 + 186 * rows),
        caption=f"{plural(len(panels), 'parameter')}, each over its whole search range, against {metric}: one dot a complete trial that had it on "
        "(their number on top right). The vertical line is the best recipe's value, orange at an edge of the range, none where that recipe does without. "
        f"The {'lowest' if higher else 'highest'} 4 % of trials are drawn at the edge.",
        alt=f"Slices of {len(panels)} parameters."
        + (
            f" The best value sits at an edge for: {', '.join(edges)}."
            if edges
            else " No best value sits at an edge."
        ),
    )


def _panel(ax: Axes, panel: Slice, scale: float, view: tuple[float, float]) -> None:
    low, high = panel.low, panel.high
    if panel.log:
        log_axis(ax, "x", low, high)
    if not panel.values:
        note(ax, "never on")
        return
    dots(
        ax, panel.values, np.clip(np.asarray(panel.scores) * scale, *view), colour=BLUE, size=4.5, alpha=0.55
    )
    for end in (low, high):
        ax.axvline(end, color=PALE, linewidth=1)
    if panel.best is not None:
        ax.axvline(panel.best, color=ORANGE if panel.edge else INK, linewidth=2.2 if panel.edge else 1.2)
    if panel.log:
        stretch = (high / low) ** 0.05
        ax.set_xlim(low / stretch, high * stretch)
    else:
        stretch = 0.05 * (high - low) or 0.5
        ax.set_xlim(low - stretch, high + stretch)
        ax.locator_params(axis="x", nbins=4)
        plain_numbers(ax, "x")
    plain_numbers(ax, "y")
    ax.locator_params(axis="y", nbins=5)
    ax.set_title(shorten(panel.name, 24), fontsize=11, color=ORANGE if panel.edge else INK)
    ax.set_title(f"n = {len(panel.values)}", loc="right", fontsize=9.5, fontweight="normal", color=MUTED)
