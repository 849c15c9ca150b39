"""Learning curves of winner and baseline: smoothed over raw, one panel per metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablate.report.clean import shorten
from ablate.report.numbers import Units
from ablate.report.plots.axes import Floats, finite, plain_numbers, smooth, thin, whole_numbers
from ablate.report.plots.palette import BLUE, MUTED, ORANGE
from ablate.report.plots.picture import Picture, picture

_STYLES = ((BLUE, "-"), (ORANGE, (0, (5, 2))), (MUTED, (0, (1, 1.5))))
_PANELS = 4
_POINTS = 300
_RAW = 12


def curves(records: Sequence[dict[str, Any]], first: str, units_of: Callable[[str], Units]) -> Picture:
    """Learning curves of at most four metrics, `first` before the others; `axes` of the picture draws the first alone. `records`: arm, seed, metric,
    values. `units_of`: the format of a metric."""
    names = list(dict.fromkeys([first, *sorted({record["metric"] for record in records}, key=_order)]))
    names = [name for name in names if any(record["metric"] == name for record in records)][:_PANELS]
    arms = sorted({record["arm"] for record in records}, key=lambda arm: (arm != "winner", arm))[
        : len(_STYLES)
    ]
    seeds = max(sum(r["arm"] == arm and r["metric"] == names[0] for r in records) for arm in arms)

    def panel(ax: Axes, metric: str) -> None:
        units = units_of(metric)
        for arm, (colour, style) in zip(arms, _STYLES, strict=False):
            lines = [
                r["values"] for r in records if r["arm"] == arm and r["metric"] == metric and r["values"]
            ]
            for values in lines[:_RAW]:
                at = thin(len(values), _POINTS)
                ax.plot(
                    at + 1,
                    np.asarray(values, dtype=float)[at] * units.factor,
                    color=colour,
                    linewidth=0.7,
                    alpha=0.3,
                )
            if lines:
                average = _mean(lines)
                at = thin(len(average), _POINTS)
                ax.plot(
                    at + 1,
                    smooth(average)[at] * units.factor,
                    color=colour,
                    linestyle=style,
                    linewidth=2,
                    label=shorten(arm, 24),
                )
        seen = finite(
            np.concatenate([r["values"] for r in records if r["metric"] == metric and r["arm"] in arms])
        )
        if len(seen) and len(names) and units.factor == 1.0:
            ax.set_ylim(top=min(ax.get_ylim()[1], float(np.percentile(seen, 98)) * 1.15 + 1e-9))
        ax.set_title(shorten(metric, 36) + units.label)
        ax.set_xlabel("epoch")
        whole_numbers(ax)
        plain_numbers(ax, "y")

    def alone(ax: Axes) -> None:
        panel(ax, names[0])
        ax.legend(loc="best")

    def paint(figure: Figure) -> None:
        columns = len(names) if len(names) <= 3 else 2
        axes = figure.subplots(-(-len(names) // columns), columns, squeeze=False).ravel()
        for ax, metric in zip(axes, names, strict=False):
            panel(ax, metric)
        axes[0].legend(loc="best")
        for ax in axes[len(names) :]:
            ax.set_visible(False)

    what = " and ".join(arms)
    drawing = picture(
        "curves",
        paint,
        height=270 if len(names) <= 3 else 540,
        caption=f"Learning curves of {what}: thin lines are single runs (n = {seeds} seeds an arm), thick lines the mean over the runs "
        "still training, smoothed by a centred moving average over a tenth of the epochs.",
        alt=f"Learning curves of {what} for {', '.join(names)}.",
    )
    return replace(drawing, axes=alone)


def _mean(runs: Sequence[Sequence[float]]) -> Floats:
    longest = max(len(values) for values in runs)
    table = np.full((len(runs), longest), np.nan)
    for row, values in zip(table, runs, strict=True):
        row[: len(values)] = values
    table[~np.isfinite(table)] = np.nan
    finite = np.isfinite(table)
    total = np.where(finite, table, 0).sum(axis=0)
    mean: Floats = np.divide(
        total, finite.sum(axis=0), out=np.full(longest, np.nan), where=finite.any(axis=0)
    )
    return mean


def _order(metric: str) -> tuple[int, str]:
    split, _, name = metric.rpartition("/")
    return (0 if name == "loss" else 1, f"{split}/{name}")
