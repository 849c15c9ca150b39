"""Plots as matplotlib axes, for notebooks and papers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from ablate.ranking.estimation.coding import lines
from ablate.records.errors import InputError, unknown
from ablate.report.data import ReportData
from ablate.report.main_rows import label, main_rows
from ablate.report.plots.curves import curves
from ablate.report.plots.lr_find import panel
from ablate.report.plots.palette import BAND, BLUE, GREY, ORANGE, PURPLE
from ablate.report.plots.picture import Picture
from ablate.report.plots.search import history

COLOURS = {
    "helps": BLUE,
    "helps a little": BLUE,
    "hurts": ORANGE,
    "hurts a little": ORANGE,
    "undecided": PURPLE,
}


def plot_ranking(data: ReportData, ax: Axes | None = None, estimand: str = "") -> Axes:
    """Effects of one estimand with intervals, in the metric's units; the band is the margin. Raises InputError."""
    rows = main_rows(data)
    if rows is None or data.ranking is None:
        raise InputError("nothing is ranked yet", hint="run the stage rank")
    if estimand:
        estimands = sorted(set(data.ranking["estimand"]))
        if estimand not in estimands:
            raise unknown("estimand", estimand, estimands)
        rows = data.ranking[data.ranking["estimand"] == estimand]
    rows = rows.sort_values("effect", ascending=False, kind="stable")
    ax = ax or _new_axes(0.8 + 0.3 * len(rows))
    scale, unit = data.units.factor, data.units.difference.strip()
    margin = rows["margin"].iloc[0]
    if margin == margin and margin:
        ax.axvspan(-margin * scale, margin * scale, color=BAND, zorder=0, linewidth=0)
    ax.axvline(0, color=GREY, linewidth=1, zorder=1)
    names = []
    for position, row in enumerate(lines(rows)):
        colour = COLOURS.get(str(row["verdict"]), GREY)
        ax.plot([row["low"] * scale, row["high"] * scale], [position, position], color=colour, linewidth=1.6)
        ax.plot(row["effect"] * scale, position, "o", color=colour)
        names.append(label(data, str(row["trick"]), str(row["level"])))
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    kind = str(rows["estimand"].iloc[0])
    ax.set_xlabel(f"effect on {data.metric}{f', {unit}' if unit else ''} ({kind}; right of zero helps)")
    return ax


def plot_search(data: ReportData, ax: Axes | None = None) -> Axes:
    """The value of every trial in the order of the search, and the best so far, as on the page. Raises InputError."""
    trials = data.stage("search")
    if trials.empty or data.metric not in trials:
        raise InputError("nothing was searched yet", hint="run the stage search")
    trials = trials.sort_values("trial", kind="stable")
    return _drawn(history(trials, data.metric, data.units, higher=data.higher_is_better), ax)


def plot_curves(data: ReportData, ax: Axes | None = None, metric: str = "") -> Axes:
    """Learning curves of the winner and the baseline (before a confirmation: of the best trial) in one metric, as on the page. Raises InputError."""
    metrics = list(dict.fromkeys(str(record["metric"]) for record in data.curves if record["values"]))
    if not metrics:
        raise InputError("there are no learning curves yet", hint="run the stage search or confirm")
    if metric and metric not in metrics:
        raise unknown("curve", metric, metrics)
    first = metric or (data.metric if data.metric in metrics else metrics[0])
    records = [record for record in data.curves if record["metric"] == first]
    return _drawn(curves(records, first, data.units_of), ax)


def plot_lr_find(document: Mapping[str, Any] | None, ax: Axes | None = None, step: int = 4) -> Axes:
    """The figures of a step of lr-find, by default the grid of learning rates, as on the page. Raises InputError."""
    steps = {int(one["step"]): one for one in (document or {}).get("steps", ())}
    drawing = panel(steps[step]) if step in steps else None
    if drawing is None:
        shown = ", ".join(str(number) for number, one in steps.items() if panel(one) is not None)
        raise InputError(
            f"step {step} of lr-find has nothing to draw",
            hint=f"steps that have: {shown}" if shown else "run the stage lr-find",
        )
    return _drawn(drawing, ax)


def _drawn(drawing: Picture, ax: Axes | None) -> Axes:
    assert drawing.axes is not None
    ax = ax or _new_axes(3.8)
    drawing.axes(ax)
    return ax


def _new_axes(height: float) -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.4, height), layout="constrained")[1]
