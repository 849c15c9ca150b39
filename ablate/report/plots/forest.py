"""Effects with their intervals: the forest plot, and the average against drop-one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablate.ranking.estimation.coding import lines
from ablate.report.clean import shorten
from ablate.report.numbers import Units, minus
from ablate.report.plots.axes import finite, plain_numbers, zero_line
from ablate.report.plots.palette import BAND, BLUE, GREY, INK, MUTED, ORANGE, PAPER, PURPLE
from ablate.report.plots.picture import Picture, picture

# Verdict -> colour, marker, filled. The shape repeats what the colour says.
MARKS = {
    "helps": (BLUE, "o", True),
    "helps a little": (BLUE, "o", False),
    "hurts": (ORANGE, "s", True),
    "hurts a little": (ORANGE, "s", False),
    "no measurable effect": (GREY, "D", True),
    "undecided": (PURPLE, "o", False),
    "exploratory": (MUTED, "d", False),
}
_LABEL = 34


def forest(
    rows: pd.DataFrame, labels: Sequence[str], units: Units, margin: float | None, *, auto: bool = False
) -> Picture:
    """One line per trick, best on top; the band is the margin, the placebo shows the noise.

    `rows`: one estimand of the ranking table, sorted; `labels`: what to call each row; `auto`: nobody declared the margin.
    """
    scale = units.factor
    limits = _limits(rows, margin, scale)
    placebo = [trick == "placebo" for trick in rows["trick"]]

    def paint(figure: Figure) -> None:
        ax = figure.add_subplot()
        if margin:
            ax.axvspan(-margin * scale, margin * scale, color=BAND, zorder=0, linewidth=0)
        zero_line(ax)
        for position, row in enumerate(lines(rows)):
            _interval(ax, position, row, scale, limits)
        ax.set_yticks(range(len(rows)), [shorten(label, _LABEL) for label in labels])
        for tick, is_placebo in zip(ax.get_yticklabels(), placebo, strict=True):
            tick.set_color(MUTED if is_placebo else INK)
            tick.set_fontstyle("italic" if is_placebo else "normal")
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.set_xlim(*limits)
        ax.grid(False, axis="y")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        plain_numbers(ax, "x")
        ax.set_xlabel(f"effect{units.label_of_difference}   (hurts ←  → helps)")
        kinds = [kind for kind in MARKS if kind in set(rows["verdict"])]
        ax.legend(handles=[_handle(kind) for kind in kinds], loc="lower center", ncols=len(kinds),
                  bbox_to_anchor=(0.5, 1.0), handletextpad=0.3, columnspacing=1.6)  # fmt: skip

    band = (
        f"The shaded band is ±{_plain(margin, units)}, the margin below which a difference is declared not to matter"
        f"{', set automatically to 0.95 σ̂ of one run' if auto else ''}."
        if margin
        else ""
    )
    estimand = str(rows["estimand"].iloc[0])
    level = _percent(rows["level_of_confidence"])
    return picture(
        f"forest-{estimand}",
        paint,
        height=round(84 + 27 * len(rows)),
        caption=f"Effect of each trick ({estimand}) with its {level} interval, each trick by itself; right of zero helps. "
        f"{band}{' The placebo does nothing by construction: what it shows is noise.' if any(placebo) else ''} {_runs(rows)}",
        alt=f"Forest plot of {len(rows)} effects. "
        + "; ".join(
            f"{shorten(label, 40)}: {units.effect(row['effect'])}{units.difference}, {row['verdict']}"
            for label, row in zip(labels, lines(rows), strict=True)
        ),
    )


def average_against_drop_one(pairs: pd.DataFrame, labels: Sequence[str], units: Units) -> Picture:
    """Average effect against drop-one effect, one point per trick; off the diagonal the tricks interact.

    `pairs`: columns `effect, low, high` and `effect_drop, low_drop, high_drop`.
    """
    scale = units.factor
    columns = ["low", "high", "low_drop", "high_drop", "effect", "effect_drop"]
    seen = finite(pairs[columns].to_numpy() * scale)
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (-1.0, 1.0)
    low, high = min(low, 0.0), max(high, 0.0)
    room = 0.06 * (high - low or 1.0)

    def paint(figure: Figure) -> None:
        ax = figure.add_subplot()
        zero_line(ax)
        zero_line(ax, vertical=False)
        ax.axline((0, 0), slope=1, color=GREY, linewidth=1, linestyle=(0, (4, 4)))
        for label, row in zip(labels, lines(pairs), strict=True):
            x, y = row["effect"] * scale, row["effect_drop"] * scale
            turned = np.sign(x) * np.sign(y) < 0
            colour = ORANGE if turned else BLUE
            ax.plot([row["low"] * scale, row["high"] * scale], [y, y], color=colour, linewidth=1.2, alpha=0.7)
            ax.plot(
                [x, x],
                [row["low_drop"] * scale, row["high_drop"] * scale],
                color=colour,
                linewidth=1.2,
                alpha=0.7,
            )
            ax.plot(x, y, "s" if turned else "o", color=colour, markersize=6)
            ax.annotate(
                shorten(label, 24),
                (x, y),
                xytext=(7, 5),
                textcoords="offset points",
                fontsize=10.5,
                color=INK,
            )
        ax.set_xlim(low - room, high + 3 * room)
        ax.set_ylim(low - room, high + room)
        plain_numbers(ax)
        ax.set_xlabel(f"average effect over the array{units.label_of_difference}")
        ax.set_ylabel(f"drop-one effect at the winner{units.label_of_difference}")

    return picture(
        "average-beside-drop-one",
        paint,
        width=620,
        height=480,
        caption="Two questions, one trick: its average effect over all combinations (across) and what the winner loses "
        "without it (up), each with its 95 % interval. On the dashed line both agree; a square marks opposite signs: "
        "the trick interacts with others.",
        alt="Scatter of average against drop-one effect: "
        + "; ".join(
            f"{shorten(label, 40)}: {units.effect(row['effect'])} and {units.effect(row['effect_drop'])}"
            for label, row in zip(labels, lines(pairs), strict=True)
        ),
    )


def _interval(ax: Axes, position: int, row: Any, scale: float, limits: tuple[float, float]) -> None:
    colour, marker, filled = MARKS.get(str(row["verdict"]), MARKS["exploratory"])
    low, high, middle = row["low"] * scale, row["high"] * scale, row["effect"] * scale
    if not np.isfinite(middle):
        ax.text(limits[0], position, "  not estimable", color=MUTED, va="center", fontsize=10.5)
        return
    ax.plot([low, high], [position, position], color=colour, linewidth=2.2)
    # an arrow marks an interval that leaves the plot
    for end, edge, arrow in ((low, limits[0], "<"), (high, limits[1], ">")):
        if np.isfinite(end) and (end < edge if arrow == "<" else end > edge):
            ax.plot(edge, position, arrow, color=colour, markersize=7, clip_on=False)
    ax.plot(middle, position, marker, color=colour, markersize=7.5,
            markerfacecolor=colour if filled else PAPER, markeredgewidth=1.6)  # fmt: skip


def _limits(rows: pd.DataFrame, margin: float | None, scale: float) -> tuple[float, float]:
    """The range that shows all effects and the margin; an interval far wider than the rest is cut (with an arrow)."""
    effects = finite(rows["effect"].to_numpy(dtype=float) * scale)
    half = finite((rows["high"] - rows["low"]).to_numpy(dtype=float) * scale / 2)
    reach = 3 * float(np.median(half)) if len(half) else 0.0
    ends = np.concatenate([
        effects, [0.0], [margin * scale * 1.15, -margin * scale * 1.15] if margin else [],
        np.clip(finite(rows["low"].to_numpy(dtype=float) * scale), effects.min(initial=0) - reach, None),
        np.clip(finite(rows["high"].to_numpy(dtype=float) * scale), None, effects.max(initial=0) + reach),
    ])  # fmt: skip
    low, high = float(ends.min()), float(ends.max())
    room = 0.04 * (high - low) or 1.0
    return low - room, high + room


def _handle(kind: str) -> Line2D:
    colour, marker, filled = MARKS[kind]
    return Line2D([], [], color=colour, marker=marker, markersize=7, linewidth=2,
                  markerfacecolor=colour if filled else PAPER, label=kind)  # fmt: skip


def _runs(rows: pd.DataFrame) -> str:
    low, high = int(rows["runs"].min()), int(rows["runs"].max())
    return f"n = {low} runs a row." if low == high else f"n = {low} to {high} runs a row."


def _percent(levels: pd.Series) -> str:
    confidences = finite(levels.to_numpy(dtype=float))
    return f"{confidences[0] * 100:g} %" if len(confidences) else "95 %"


def _plain(value: float, units: Units) -> str:
    return minus(f"{value * units.factor:.3g}") + units.difference
