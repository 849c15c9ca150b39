"""Plots as matplotlib axes, for notebooks and papers. The report draws its own."""

from __future__ import annotations

from matplotlib.axes import Axes

from ablate.ranking.estimation.coding import lines
from ablate.records.errors import InputError, unknown
from ablate.report.data import ReportData
from ablate.report.main_rows import label, main_rows
from ablate.report.plots.palette import BAND, BLUE, GREY, ORANGE, PURPLE

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
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(6.4, 0.8 + 0.3 * len(rows)), layout="constrained")
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
