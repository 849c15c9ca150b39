"""Slices: each searched parameter against the metric, and a warning if the best is at an edge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablate.report.clean import shorten
from ablate.report.numbers import Units, plural
from ablate.report.plots.axes import dots, finite, log_axis, note, plain_numbers
from ablate.report.plots.palette import BLUE, INK, MUTED, ORANGE, PALE
from ablate.report.plots.picture import Picture, panel_grid, picture
from ablate.report.plots.sampling import MOST_DRAWN, drawn, drawn_note
from ablate.report.slices import Slice

COLUMNS = 4


def slices(
    panels: Sequence[Slice], metric: str, units: Units, *, higher: bool, name: str = "search-slices"
) -> Picture:
    """Small multiples, one panel per parameter, all with the metric on one vertical scale."""
    rows = -(-len(panels) // COLUMNS)
    scores = finite(np.concatenate([panel.scores for panel in panels]) * units.factor)
    low, high = (float(scores.min()), float(scores.max())) if len(scores) else (0.0, 1.0)
    if len(scores):
        low, high = (np.percentile(scores, 4), high) if higher else (low, np.percentile(scores, 96))
    room = 0.08 * (high - low) or 0.5

    def paint(figure: Figure) -> None:
        axes = panel_grid(figure, rows, COLUMNS, left=66, gap=18, sharey=True)
        for ax, panel in zip(axes, panels, strict=False):
            _panel(ax, panel, units.factor, (low, high), higher=higher)
            ax.set_ylim(low - room, high + room)
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        figure.supylabel(
            f"{shorten(metric, 40)}{units.label}", fontsize=11.5, color=MUTED, x=0.004, ha="left"
        )

    edges = [panel.name for panel in panels if panel.edge]
    most = max(len(panel.values) for panel in panels)
    return picture(
        name,
        paint,
        height=round(24 + 186 * rows),
        layout=None,
        caption=f"{plural(len(panels), 'parameter')}, each over its whole search range, against {metric}: one dot a complete trial that had it on "
        "(their number on top right). The vertical line is the best recipe's value, orange where a wider range may hold a better one, none where that recipe does without. "
        f"The {'lowest' if higher else 'highest'} 4 % of trials are drawn at the edge."
        + drawn_note(min(most, MOST_DRAWN), most),
        alt=f"Slices of {len(panels)} parameters."
        + (
            f" A wider range may hold a better value of: {', '.join(edges)}."
            if edges
            else " No best value asks for a wider range."
        ),
    )


def _panel(ax: Axes, panel: Slice, scale: float, view: tuple[float, float], *, higher: bool) -> None:
    low, high = panel.low, panel.high
    if panel.log:
        log_axis(ax, "x", low, high)
    if not panel.values:
        note(ax, "never on")
        return
    values, scores = np.asarray(panel.values), np.asarray(panel.scores)
    shown = drawn(scores, higher=higher)
    dots(ax, values[shown], np.clip(scores[shown] * scale, *view), colour=BLUE, size=4.5, alpha=0.55)
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
    ax.set_title(shorten(panel.name, 24), fontsize=11, y=1.0, color=ORANGE if panel.edge else INK)
    ax.set_title(
        f"n = {len(panel.values)}", loc="right", y=1.0, fontsize=9.5, fontweight="normal", color=MUTED
    )
