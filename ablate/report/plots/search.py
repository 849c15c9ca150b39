"""The search: the value of each trial, and what the best trials have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablate.report.clean import shorten
from ablate.report.numbers import Units, plural
from ablate.report.plots.axes import dots, finite, plain_numbers, whole_numbers
from ablate.report.plots.palette import BLUE, GREY, INK, MUTED, ORANGE, PALE
from ablate.report.plots.picture import Picture, picture
from ablate.report.plots.sampling import drawn, drawn_note


def history(trials: pd.DataFrame, metric: str, units: Units, *, higher: bool) -> Picture:
    """Value of every trial in order, best so far as a step line; trials without a value along the edge.

    `trials`: `trial, outcome` and the metric, in order.
    """
    scale = units.factor
    values = pd.to_numeric(trials[metric], errors="coerce").to_numpy(dtype=float) * scale
    number = trials["trial"].to_numpy(dtype=float)
    complete = (trials["outcome"] == "complete").to_numpy() & np.isfinite(values)
    pruned = (trials["outcome"] == "pruned").to_numpy() & np.isfinite(values)
    lost = ~complete & ~pruned
    worst = -np.inf if higher else np.inf
    candidates = np.where(complete, values, worst)
    best = (np.maximum if higher else np.minimum).accumulate(candidates) if len(candidates) else candidates
    shown = np.zeros(len(values), dtype=bool)
    shown[drawn(np.where(complete, values, np.nan), higher=higher)] = True
    line = np.isfinite(best) & (shown | np.append(True, best[1:] != best[:-1])[: len(best)])
    low, high = _view(values[complete if complete.sum() > 2 else complete | pruned], higher=higher)
    floor = low if higher else high

    def paint(ax: Axes) -> None:
        for kind, colour, size, alpha in ((pruned, PALE, 5, 1.0), (complete, BLUE, 6, 0.65)):
            these = kind & shown
            dots(ax, number[these], np.clip(values[these], low, high), colour=colour, size=size, alpha=alpha)
        crosses = lost & shown
        if crosses.any():  # an empty line that is not clipped would still reserve the figure's corner
            edge = np.full(int(crosses.sum()), floor)
            ax.plot(number[crosses], edge, "x", color=ORANGE, markersize=5.5, clip_on=False)
        ax.step(number[line], best[line], where="post", color=INK, linewidth=1.6)
        if line.any():
            ax.annotate(f"best {units.value(best[line][-1] / scale)}", (number[line][-1], best[line][-1]),
                        xytext=(0, 7 if higher else -14), textcoords="offset points", ha="right", color=INK)  # fmt: skip
        room = 0.05 * (high - low)
        ax.set_ylim(low - room, high + 2 * room)
        ax.set_xlim(number.min(initial=0) - 0.6, number.max(initial=1) + 0.6)
        whole_numbers(ax)
        plain_numbers(ax, "y")
        ax.set_xlabel("trial")
        ax.set_ylabel(f"{shorten(metric, 40)}{units.label}")

    drawing = picture(
        "search-history",
        lambda figure: paint(figure.add_subplot()),
        height=330,
        caption=f"{plural(len(trials), 'trial')} in the order of their suggestion: {int(complete.sum())} complete (blue), "
        f"{int(pruned.sum())} pruned early (grey, their last value), {int(lost.sum())} without a value (orange crosses on the edge). "
        "The line is the best so far. The best of many noisy trials is optimistic; what counts is the confirmation on fresh seeds. "
        "Values far worse than those of the complete trials are drawn at the edge."
        + drawn_note(int(shown.sum()), len(trials)),
        alt=f"Search history of {len(trials)} trials."
        + (
            f" Best so far ends at {units.value(best[-1] / scale)}."
            if len(best) and np.isfinite(best[-1])
            else ""
        ),
    )
    return replace(drawing, axes=paint)


def common(best: pd.DataFrame, labels: Sequence[str], shares: Sequence[float], top: int) -> Picture:
    """Which tricks the best trials use: a dot where on, and the share in all trials against the top tenth.

    `best`: tricks × trials, 1 where on, the best trial first; `shares`: of all trials, per trick;
    `top`: number of trials of the second share.
    """
    count = best.shape[1]
    upper = best.iloc[:, :top].mean(axis=1).to_numpy()

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[2.4, 1.0])
        rows, columns = np.nonzero(best.to_numpy() > 0)
        off_rows, off_columns = np.nonzero(best.to_numpy() <= 0)
        dots(left, off_columns + 1, off_rows, colour=PALE, size=2.6, alpha=1)
        dots(left, columns + 1, rows, colour=BLUE, size=9, alpha=1)
        left.set_yticks(range(len(best)), [shorten(label, 30) for label in labels], color=INK)
        left.set_ylim(len(best) - 0.4, -0.6)
        left.set_xlim(0.4, count + 0.6)
        left.set_xlabel("trial, best first")
        whole_numbers(left)
        left.set_title("on in the best trials")
        for position, (everywhere, above) in enumerate(zip(shares, upper, strict=True)):
            right.plot([everywhere * 100, above * 100], [position, position], color=PALE, linewidth=2)
            right.plot(
                everywhere * 100,
                position,
                "o",
                color=GREY,
                markersize=6,
                markerfacecolor="none",
                markeredgewidth=1.5,
            )
            right.plot(above * 100, position, "o", color=BLUE, markersize=7)
        right.set_xlim(-4, 104)
        right.set_xlabel("share of trials with it on (%)")
        right.set_title(f"all (ring), top {top} (dot)", color=MUTED)
        for ax in (left, right):
            ax.grid(False, axis="y")
            ax.spines["left"].set_visible(False)
            ax.tick_params(axis="y", length=0)

    return picture(
        "search-common",
        paint,
        height=round(96 + 22 * len(best)),
        caption=f"What the best {count} complete trials have in common. Left: a dot where a trick is on. Right: the share of all "
        f"trials with the trick on (ring) against the {top} best (dot). The search chose these settings itself, so this is a "
        "description, not evidence.",
        alt="Tricks in the best trials: "
        + "; ".join(
            f"{shorten(label, 40)} {above * 100:.0f} %" for label, above in zip(labels, upper, strict=True)
        ),
    )


def _view(values: np.ndarray, *, higher: bool) -> tuple[float, float]:
    """The range to show: all but a far tail on the bad side."""
    values = finite(values)
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    quarter, median, three = np.percentile(values, [25, 50, 75])
    reach = 4 * max(three - quarter, 1e-12)
    if higher:
        low = max(low, float(median - reach))
    else:
        high = min(high, float(median + reach))
    return (low, high) if high > low else (low - 0.5, high + 0.5)
