"""The cost of each trick in time and memory, relative to the run without it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ablate.ranking.estimation.coding import lines
from ablate.report.clean import shorten
from ablate.report.numbers import ratio
from ablate.report.plots.axes import plain_numbers
from ablate.report.plots.palette import BLUE, GREY, INK, ORANGE, PALE
from ablate.report.plots.picture import Picture, picture


def costs(rows: pd.DataFrame, labels: Sequence[str]) -> Picture:
    """Ratios per trick: time (dot) and memory (square). `rows`: time_ratio, memory_ratio."""
    has_memory = rows["memory_ratio"].notna().any()

    def paint(figure: Figure) -> None:
        ax = figure.add_subplot()
        ax.axvline(1, color=GREY, linewidth=1.1)
        for position, row in enumerate(lines(rows)):
            if np.isfinite(row["time_ratio"]):
                ax.plot([1, row["time_ratio"]], [position, position], color=PALE, linewidth=2)
                ax.plot(row["time_ratio"], position, "o", color=BLUE, markersize=7)
            if row["memory_ratio"] is not None and np.isfinite(row["memory_ratio"]):
                ax.plot(
                    row["memory_ratio"],
                    position,
                    "s",
                    color=ORANGE,
                    markersize=6,
                    markerfacecolor="none",
                    markeredgewidth=1.6,
                )
        ax.set_yticks(range(len(rows)), [shorten(label, 30) for label in labels], color=INK)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.grid(False, axis="y")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        plain_numbers(ax, "x")
        ax.set_xlabel(
            "× the run without it: time a step (dot)" + (", peak memory (square)" if has_memory else "")
        )

    return picture(
        "costs",
        paint,
        height=round(62 + 23 * len(rows)),
        caption="Cost of each trick on its own, relative to the same run without it: time of a training step"
        + (" and peak memory." if has_memory else "."),
        alt="Costs: "
        + "; ".join(
            f"{shorten(label, 30)} {ratio(row['time_ratio'])} time"
            for label, row in zip(labels, lines(rows), strict=True)
        ),
    )
