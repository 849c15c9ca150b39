"""The tuned ranking: both references next to each other per trick, and the steps from the baseline to the recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablate.ranking.designs.registry import DESIGNS
from ablate.ranking.estimands import ESTIMANDS
from ablate.records.designs import TUNED
from ablate.records.document import Document
from ablate.records.trick import PLACEBO
from ablate.report.clean import shorten
from ablate.report.ladder import step_labels
from ablate.report.numbers import Units, significant
from ablate.report.plots.axes import finite, plain_numbers, zero_line
from ablate.report.plots.forest import MARKS
from ablate.report.plots.palette import BAND, BLUE, GREY, INK, MUTED, ORANGE, PALE, PAPER
from ablate.report.plots.picture import Picture, picture, set_tooltip

_LABEL = 34


def both(effects: Sequence[Document], tricks: Sequence[str], units: Units, margin: float) -> Picture:
    """One line per trick, a panel for each reference. `tricks`: the order of the lines, best on top."""
    panels = [name for name in DESIGNS[TUNED].estimands if any(row["estimand"] == name for row in effects)]
    positions = {trick: position for position, trick in enumerate(tricks)}
    limits = _limits(effects, margin, units.factor)
    kinds = [kind for kind in MARKS if any(row["verdict"] == kind for row in effects)]

    def paint(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, estimand in zip(axes, panels, strict=True):
            ax.axvspan(-margin * units.factor, margin * units.factor, color=BAND, zorder=0, linewidth=0)
            zero_line(ax)
            for row in effects:
                if row["estimand"] == estimand:
                    _interval(ax, positions[row["trick"]], row, units, limits)
            ax.set_ylim(len(tricks) - 0.4, -0.6)
            ax.set_xlim(*limits)
            ax.set_title(ESTIMANDS[estimand].change)
            ax.grid(False, axis="y")
            ax.spines["left"].set_visible(False)
            ax.tick_params(axis="y", length=0)
            plain_numbers(ax, "x")
        axes[0].set_yticks(range(len(tricks)), [shorten(trick, _LABEL) for trick in tricks])
        for tick, trick in zip(axes[0].get_yticklabels(), tricks, strict=True):
            tick.set_color(MUTED if trick == PLACEBO else INK)
            tick.set_fontstyle("italic" if trick == PLACEBO else "normal")
        figure.supxlabel(
            f"effect{units.label_of_difference}   (hurts ←  → helps)", color=MUTED, fontsize=11.5
        )
        figure.legend(handles=[_handle(kind) for kind in kinds], loc="outside upper center", ncols=len(kinds),
                      handletextpad=0.3, columnspacing=1.4)  # fmt: skip

    size = f"±{significant(margin * units.factor)}{units.difference}"
    return picture(
        "forest-both",
        paint,
        height=round(120 + 24 * len(tricks)),
        caption=f"Effect of each trick with its 95 % interval, {' and '.join(ESTIMANDS[name].change for name in panels)}; right of zero helps. "
        f"The shaded band is the margin, {size}. "
        + ("A trick that helps on the left alone is redundant in the recipe. " if len(panels) > 1 else "")
        + f"{'The placebos do' if len(panels) > 1 else 'The placebo does'} nothing: what {'they show' if len(panels) > 1 else 'it shows'} is noise.",
        alt=f"Forest plot of {len(effects)} effects in {len(panels)} panels. "
        + "; ".join(
            f"{shorten(row['trick'], 40)}, {ESTIMANDS[row['estimand']].change}: {units.effect(row['effect'])}{units.difference}, {row['verdict']}"
            for row in effects
        ),
    )


def waterfall(ladder: Document, units: Units, *, higher: bool) -> Picture | None:
    """From the baseline to the recipe, one bar per step, each with the interval of its step. None without a step.

    `ladder`: `levels` are means of the metric; effects of `steps` are signed so that positive helps.
    """
    steps, sign = ladder["steps"], 1.0 if higher else -1.0
    if not steps:
        return None
    levels = np.array(ladder["levels"], dtype=float) * units.factor
    labels = step_labels(ladder)
    names = ["baseline", *labels, "recipe"]
    ends = [
        sign * step[end] * units.factor + before
        for step, before in zip(steps, levels[:-1], strict=True)
        for end in ("low", "high")
    ]
    seen = finite([*levels, *ends])
    room = 0.08 * (float(np.ptp(seen)) or 1.0)
    bottom = float(seen.min()) - room

    def paint(figure: Figure) -> None:
        ax = figure.add_subplot()
        last = len(steps) + 1
        for position, level in ((0, levels[0]), (last, levels[-1])):
            ax.bar(position, level - bottom, bottom=bottom, width=0.62, color=PALE)
        for position, (step, label) in enumerate(zip(steps, labels, strict=True), start=1):
            before, after = levels[position - 1], levels[position]
            colour = BLUE if step["low"] > 0 else ORANGE if step["high"] < 0 else GREY
            (bar,) = ax.bar(position, after - before, bottom=before, width=0.62, color=colour)
            set_tooltip(
                bar,
                f"{shorten(label, 60)}: {units.effect(step['effect'])}{units.difference} "
                f"({units.interval(step['low'], step['high'])})",
            )
            low, high = (before + sign * step[end] * units.factor for end in ("low", "high"))
            ax.plot([position, position], [low, high], color=INK, linewidth=1.4)
            ax.plot(position, after, "o", color=INK, markersize=3.5)
        for position in range(last):
            ax.plot(
                [position + 0.31, position + 0.69],
                [levels[min(position, len(steps))]] * 2,
                color=GREY,
                linewidth=1,
            )
        ax.set_xticks(range(last + 1), [shorten(name, _LABEL) for name in names], rotation=25, ha="right")
        for tick in ax.get_xticklabels():
            tick.set_color(INK)
        ax.set_ylim(bottom, float(seen.max()) + room)
        ax.grid(False, axis="x")
        plain_numbers(ax, "y")
        ax.set_ylabel(f"metric{units.label}")

    total = ladder["total"]
    return picture(
        "ladder",
        paint,
        width=min(880, 260 + 78 * (len(steps) + 2)),
        height=380,
        caption="From the baseline to the lean recipe, one change at a time, each rung at its own best rate and all on the same "
        f"{total['pairs']} fresh seeds, so the steps add up to the gain: {units.effect(total['effect'])}{units.difference} "
        f"({units.interval(total['low'], total['high'])}). Lines are 95 % intervals of each step; a grey step is not clear of zero. "
        "The axis does not begin at zero.",
        alt="Waterfall: "
        + "; ".join(f"{label}: {units.effect(step['effect'])}{units.difference}" for step, label in zip(steps, labels, strict=True)),
    )  # fmt: skip


def _interval(ax: Any, position: int, row: Document, units: Units, limits: tuple[float, float]) -> None:
    scale = units.factor
    colour, marker, filled = MARKS.get(str(row["verdict"]), MARKS["exploratory"])
    if not np.isfinite(row["effect"]):
        ax.text(limits[0], position, "  not estimable", color=MUTED, va="center", fontsize=10.5)
        return
    low, high, middle = (row[key] * scale for key in ("low", "high", "effect"))
    label = (
        f"{shorten(row['trick'], 40)}, {ESTIMANDS[row['estimand']].change}: {units.effect(row['effect'])}{units.difference} "
        f"({units.interval(row['low'], row['high'])}), {row['pairs']} pairs, {row['verdict']}"
    )
    ends = [max(low, limits[0]), min(high, limits[1])]
    set_tooltip(ax.plot(ends, [position, position], color=colour, linewidth=2.2)[0], label)
    inset = 0.012 * (limits[1] - limits[0])  # clear of the labels
    outside = (low < limits[0], limits[0] + inset, "<"), (high > limits[1], limits[1] - inset, ">")
    for beyond, edge, arrow in outside:
        if beyond:
            ax.plot(edge, position, arrow, color=colour, markersize=7)
    if limits[0] <= middle <= limits[1]:
        point = ax.plot(middle, position, marker, color=colour, markersize=7, markerfacecolor=colour if filled else PAPER,
                        markeredgewidth=1.6)  # fmt: skip
        set_tooltip(point[0], label)


def _limits(effects: Sequence[Document], margin: float, scale: float) -> tuple[float, float]:
    """The middle of the effects and twice the margin; intervals far outside are cut, with an arrow."""
    ends = finite([row[key] * scale for row in effects for key in ("low", "high")])
    low, high = (float(np.quantile(ends, q)) for q in (0.04, 0.96)) if len(ends) else (0.0, 0.0)
    low, high = min(low, -2 * margin * scale), max(high, 2 * margin * scale)
    room = 0.05 * (high - low) or 1.0
    return low - room, high + room


def _handle(kind: str) -> Line2D:
    colour, marker, filled = MARKS[kind]
    return Line2D([], [], color=colour, marker=marker, markersize=7, linewidth=2,
                  markerfacecolor=colour if filled else PAPER, label=kind)  # fmt: skip
