"""The tuning of each arm: the metric over the learning rate, with and without the trick, small panels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ablate.ranking.estimands import reference_of
from ablate.records.designs import ADD_ONE, Estimand
from ablate.records.document import Document
from ablate.report.clean import shorten
from ablate.report.numbers import Units, plural
from ablate.report.plots.axes import finite, log_axis, plain_numbers
from ablate.report.plots.palette import BLUE, GREY, INK, PAPER
from ablate.report.plots.picture import Picture, panel_grid, picture, set_tooltip

COLUMNS, ROWS = 4, 6


class CurvePoint(NamedTuple):
    """The mean `value` of so many `runs` at a rate; `chosen`: whether the arm was compared at it."""

    rate: float
    value: float
    chosen: bool
    runs: int


Points = list[CurvePoint]


def tuning_curves(
    tuning: dict[str, list[Document]],
    rows: Sequence[Document],
    estimand: Estimand,
    units: Units,
    *,
    higher: bool,
    untuned: bool = False,
) -> list[Picture]:
    """Panels of the effects `rows` of one estimand whose arm or reference was tried at two rates or more; 24 per picture. `untuned`: the budget
    left no runs to tune the arms."""
    reference = points_of(tuning.get(reference_of(estimand)) or [], units, higher=higher)
    panels = []
    for row in rows:
        arm = points_of(tuning.get(str(row["arm"])) or [], units, higher=higher)
        if len(arm) > 1 or (len(reference) > 1 and arm):
            panels.append((row, arm))
    size = COLUMNS * ROWS
    sheets = [panels[start : start + size] for start in range(0, len(panels), size)]
    return [
        _sheet(sheet, reference, estimand, units, number, untuned=untuned)
        for number, sheet in enumerate(sheets, start=1)
    ]


def points_of(points: Sequence[Document], units: Units, *, higher: bool) -> Points:
    """The points of a curve, by rate; if several settings were tried at a rate, the best of them.

    Scores are stored so that more is better; failed runs, which have no finite score, are left out.
    """
    scores_by_rate: dict[float, list[tuple[float, bool, int]]] = defaultdict(list)
    for point in points:
        scores = finite([*point["scores"], *point["final"]])
        if point.get("rate") and len(scores):
            scores_by_rate[float(point["rate"])].append((fmean(scores), bool(point["chosen"]), len(scores)))
    sign = 1.0 if higher else -1.0
    curve = []
    for rate, values in sorted(scores_by_rate.items()):
        best, chosen, runs = next((value for value in values if value[1]), max(values))
        curve.append(CurvePoint(rate, sign * best * units.factor, chosen, runs))
    return curve


def _sheet(
    panels: Sequence[tuple[Document, Points]],
    reference: Points,
    estimand: Estimand,
    units: Units,
    number: int,
    *,
    untuned: bool,
) -> Picture:
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)

    def paint(figure: Figure) -> None:
        axes = panel_grid(figure, lines, columns, bottom=52)
        for ax, (row, arm) in zip(axes, panels, strict=False):
            sides = ((reference, GREY, "s"), (arm, BLUE, "o"))
            if row["in_recipe"]:  # the arm is the reference without the trick
                sides = ((arm, GREY, "s"), (reference, BLUE, "o"))
            for curve, colour, marker in sides:
                _draw(ax, curve, colour, marker, units)
            rates = [point.rate for curve, _, _ in sides for point in curve]
            log_axis(ax, "x", min(rates), max(rates))
            _window(ax, [point.value for curve, _, _ in sides for point in curve])
            plain_numbers(ax, "y")
            ax.set_title(shorten(str(row["trick"]), 20), fontsize=11, y=1.0)
            ax.tick_params(labelsize=9.5)
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        figure.supxlabel(
            "learning rate", color=INK, fontsize=11, y=8 / (figure.get_figheight() * 72), va="bottom"
        )

    where = "the baseline" if estimand == ADD_ONE else "the recipe found"
    return picture(
        f"tuning-{estimand}" + (f"-{number}" if number > 1 else ""),
        paint,
        width=880 if columns == COLUMNS else 230 * columns,
        height=70 + 150 * lines,
        layout=None,
        caption=_caption(panels, reference, where, units, untuned=untuned) if number == 1 else f"Tuning on {where}, continued.",
        alt="Tuning curves of " + ", ".join(shorten(str(row["trick"]), 40) for row, _ in panels),
    )  # fmt: skip


def _caption(
    panels: Sequence[tuple[Document, Points]], reference: Points, where: str, units: Units, *, untuned: bool
) -> str:
    runs = [point.runs for curve in (reference, *(arm for _, arm in panels)) for point in curve]
    each = f"{min(runs)} to {plural(max(runs), 'run')}" if min(runs) < max(runs) else plural(runs[0], "run")
    drawn = f"Tuning on {where}: the metric{units.label} over the learning rate, with the trick (blue, round) and without it (grey, square); a point is the mean of {each}."
    if untuned:
        return f"{drawn} The budget left no runs to tune the arms: each was run at its first rate, which need not be its best."
    return (
        f"{drawn} The large point is the rate that was compared: of the smallest expected loss by a curve fitted to all runs of the arm, or the "
        "reference's where that loses little more; so it need not be the highest. “Its own best learning rate” is therefore an estimate: what the curve "
        "says that it may lose to the true best is part of the interval. An optimizer's rates are its own. Values far from the rest are cut."
    )


def _draw(ax: Any, curve: Points, colour: str, marker: str, units: Units) -> None:
    """A curve is one artist (with the values of all its points to hover over) and its chosen point another: an artist for each point
    would be most of the page's time."""
    values = [
        f"rate {rate:g}: {units.value(value / units.factor)}, {plural(runs, 'run')}{', chosen' if chosen else ''}"
        for rate, value, chosen, runs in curve
    ]
    (line,) = ax.plot(*zip(*[point[:2] for point in curve], strict=True), f"-{marker}", color=colour, linewidth=1.4, markersize=3)  # fmt: skip
    set_tooltip(line, "\n".join(values))
    for (rate, value, chosen, _), text in zip(curve, values, strict=True):
        if chosen:
            (point,) = ax.plot(
                rate, value, marker, color=colour, markersize=8, markerfacecolor=PAPER, markeredgewidth=1.8
            )
            set_tooltip(point, text)


def _window(ax: Any, values: Sequence[float]) -> None:
    """The range of the upper part of the values: one rate that diverged must not flatten the rest."""
    seen = np.sort(np.asarray(values, dtype=float))
    middle = float(np.median(seen))
    reach = 4 * float(np.median(np.abs(seen - middle))) or 1.0
    low, high = max(float(seen[0]), middle - 2 * reach), min(float(seen[-1]), middle + 2 * reach)
    room = 0.12 * (high - low) or 1.0
    ax.set_ylim(low - room, high + room)
