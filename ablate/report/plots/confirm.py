"""The confirmation: every run on fresh seeds, and the paired differences to the winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ablate.report.clean import shorten
from ablate.report.numbers import Units
from ablate.report.plots.axes import plain_numbers, zero_line
from ablate.report.plots.palette import BLUE, GREY, INK, MUTED, ORANGE, PALE
from ablate.report.plots.picture import Picture, picture


def arms(
    values: Mapping[str, Mapping[str, float]],
    metric: str,
    units: Units,
    *,
    name: str = "confirm-arms",
    what: str = "the confirmation",
) -> Picture:
    """Raw points of every arm, a line through each seed, the mean as a bar. `what`: the stage, in words."""
    # the baseline last, so that the lines of a seed do not zigzag
    names = sorted((name for name in values if values[name]), key=lambda name: name == "baseline")
    frame = pd.DataFrame(
        [(name, seed, value * units.factor) for name in names for seed, value in values[name].items()],
        columns=["arm", "seed", "value"],
    )
    table = frame.pivot_table(index="seed", columns="arm", values="value")[names]

    def paint(figure: Figure) -> None:
        ax = figure.add_subplot()
        positions = np.arange(len(names))
        for _, row in table.iterrows():
            ax.plot(row.to_numpy(), positions, color=PALE, linewidth=0.8, zorder=1)
        colours = {arm: BLUE if arm == "winner" else ORANGE if arm == "baseline" else GREY for arm in names}
        sns.stripplot(frame, x="value", y="arm", hue="arm", order=names, palette=colours, ax=ax, jitter=False,
                      size=6.5, alpha=0.8, legend=False, zorder=3)  # fmt: skip
        for position, arm in enumerate(names):
            mean = float(table[arm].mean())
            ax.plot([mean, mean], [position - 0.3, position + 0.3], color=INK, linewidth=2.4, zorder=4)
        ax.set_yticks(positions, [shorten(name, 34) for name in names], color=INK)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.grid(False, axis="y")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        plain_numbers(ax, "x")
        ax.set_xlabel(f"{shorten(metric, 40)}{units.label}")
        ax.set_ylabel("")

    sizes = sorted({len(values[name]) for name in names})
    count = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return picture(
        name,
        paint,
        height=round(70 + 30 * len(names)),
        caption=f"Every run of {what}: {metric}, n = {count} fresh seeds an arm. Thin lines join runs of one seed; the bar is the mean.",
        alt=f"Runs of {what}; means: "
        + "; ".join(
            f"{shorten(arm, 40)} {units.value(float(table[arm].mean()) / units.factor)}" for arm in names
        ),
    )


def differences(rows: Sequence[Mapping[str, Any]], units: Units) -> Picture:
    """Paired differences with intervals: the winner against the baseline and against the winner without one trick.

    `rows`: `label, effect, low, high, n`.
    """
    scale = units.factor

    def paint(figure: Figure) -> None:
        ax = figure.add_subplot()
        zero_line(ax)
        for position, row in enumerate(rows):
            sure = row["low"] > 0 or row["high"] < 0
            colour = GREY if not sure else BLUE if row["effect"] > 0 else ORANGE
            ax.plot(
                [row["low"] * scale, row["high"] * scale], [position, position], color=colour, linewidth=2.2
            )
            ax.plot(row["effect"] * scale, position, "o", color=colour, markersize=7.5)
        ax.set_yticks(range(len(rows)), [shorten(row["label"], 34) for row in rows], color=INK)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.grid(False, axis="y")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        plain_numbers(ax, "x")
        unit = units.difference.strip()
        ax.set_xlabel(f"winner better by{unit and f' ({unit})'}", color=MUTED)

    return picture(
        "confirm-differences",
        paint,
        height=round(66 + 28 * len(rows)),
        caption="What the winner gains over the baseline, and what each trick contributes to it (winner with − winner without), "
        "as paired differences over the same seeds with 95 % t intervals; grey where the interval includes zero.",
        alt="Paired differences: "
        + "; ".join(
            f"{shorten(row['label'], 40)} {units.effect(row['effect'])} ({units.interval(row['low'], row['high'])})"
            for row in rows
        ),
    )
