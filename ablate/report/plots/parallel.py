"""Parallel coordinates of a search: an axis per parameter and one for the metric, a line per trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from ablate.report.clean import shorten
from ablate.report.numbers import Units, plural, setting
from ablate.report.plots.palette import BLUE, INK, MUTED, PALE
from ablate.report.plots.picture import Picture, picture, set_tooltip
from ablate.report.plots.sampling import drawn, drawn_note

OFF = -0.14
"""Height at which a line crosses an axis whose trick was off in the trial."""
CUT = 4
"""Percentage of the trials, the worst, that are drawn at the end of the metric's axis."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A parameter: its range, and its value in each trial (None: the trick was off)."""

    name: str
    low: float
    high: float
    log: bool
    values: tuple[float | None, ...]

    def height(self, value: float | None) -> float:
        """0 at the low end, 1 at the high one."""
        if value is None:
            return OFF
        low, high, at = (
            (np.log(self.low), np.log(self.high), np.log(value)) if self.log else (self.low, self.high, value)
        )
        return float((at - low) / (high - low)) if high > low else 0.5


def parallel(
    axes: Sequence[Axis],
    trials: Sequence[int],
    scores: Sequence[float],
    metric: str,
    units: Units,
    *,
    higher: bool,
) -> Picture:
    """`trials` and `scores`: of complete trials, in one order with the axes' values. The best tenth is highlighted."""
    values = np.asarray(scores, dtype=float)
    order = np.argsort(values if higher else -values, kind="stable")  # the best are drawn last
    shown = set(drawn(values, higher=higher).tolist())
    best = set(order[-max(3, len(order) // 10) :].tolist())
    low, high = float(values.min()), float(values.max())
    if higher:
        low = float(np.percentile(values, CUT))
    else:
        high = float(np.percentile(values, 100 - CUT))

    def paint(figure: Figure) -> None:
        ax = figure.add_subplot()
        positions = range(len(axes) + 1)
        for trial in filter(shown.__contains__, order.tolist()):
            heights = [axis.height(axis.values[trial]) for axis in axes]
            at = float(np.clip(values[trial], low, high))
            heights.append((at - low) / (high - low) if high > low else 0.5)
            is_best = trial in best
            (line,) = ax.plot(positions, heights, color=BLUE if is_best else PALE, linewidth=1.4 if is_best else 0.8,
                              alpha=0.9 if is_best else 0.8, zorder=3 if is_best else 2)  # fmt: skip
            set_tooltip(line, f"trial {trials[trial]}: {units.value(values[trial])}")
        for position in positions:
            ax.axvline(position, ymin=0.08, color=MUTED, linewidth=0.8, zorder=4)
        ends = [
            *((setting(axis.low), setting(axis.high)) for axis in axes),
            (units.value(low), units.value(high)),
        ]
        for position, (bottom, top) in zip(positions, ends, strict=True):
            ax.text(position, 1.03, top, ha="center", va="bottom", fontsize=9.5, color=MUTED)
            ax.text(position, -0.03, bottom, ha="center", va="top", fontsize=9.5, color=MUTED)
        names = [*(shorten(axis.name, 22) for axis in axes), shorten(metric, 22)]
        ax.set_xticks(list(positions), names, rotation=20, ha="right")
        for tick in ax.get_xticklabels():
            tick.set_color(INK)
        ax.set_yticks([OFF], ["off"])
        ax.set_ylim(OFF - 0.08, 1.12)
        ax.set_xlim(-0.3, len(axes) + 0.3)
        ax.grid(False)
        for side in ax.spines.values():
            side.set_visible(False)
        ax.tick_params(length=0)

    return picture(
        "search-parallel",
        paint,
        height=380,
        caption=f"{plural(len(order), 'complete trial')} as lines over the parameters that most of them had, each axis over its search range; the best "
        f"{len(best)} in blue. A line passes below an axis where the trick was off. "
        f"The worst {CUT} % are drawn at the metric's end." + drawn_note(len(shown), len(order)),
        alt=f"Parallel coordinates of {len(order)} trials over {len(axes)} parameters and {shorten(metric, 40)}.",
    )
