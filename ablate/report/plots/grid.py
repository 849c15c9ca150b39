"""A grid search: the score by learning rate, one line per weight decay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ablate.report.numbers import setting
from ablate.report.plots.axes import log_axis, plain_numbers
from ablate.report.plots.palette import BLUE, GREEN, GREY, ORANGE, PURPLE

_SCORES = ("validation/accuracy", "validation/loss", "accuracy", "loss")
_COLOURS = (BLUE, GREEN, PURPLE, GREY)


def grid(cells: Any, metric: str = "", *, higher: bool = True) -> tuple[Callable[[Axes], None], str] | None:
    """The score by learning rate, a line and a colour per weight decay; the best cell is circled, crosses mark diverged runs.

    `metric`: of the study, by which the rate was chosen, and whether a higher one is better; accuracy or loss where the cells do not have it.
    """
    if not isinstance(cells, Sequence) or not cells:
        return None
    frame = pd.DataFrame([dict(cell) for cell in cells])
    score = next(
        (
            name
            for name in (metric, *_SCORES)
            if name in frame and pd.to_numeric(frame[name], errors="coerce").notna().any()
        ),
        None,
    )
    if score is None or not {"learning_rate", "weight_decay"} <= set(frame):
        return None
    percent = "accuracy" in score
    numbers = {
        name: pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=float)
        for name in ("learning_rate", "weight_decay", score)
    }
    rates, decays, values = (
        numbers["learning_rate"],
        numbers["weight_decay"],
        numbers[score] * (100 if percent else 1),
    )
    values = np.where(np.isfinite(values), values, np.nan)
    finite = np.isfinite(values)
    more = higher if score == metric else percent
    best = int(np.nanargmax(values) if more else np.nanargmin(values))

    def paint(ax: Axes) -> None:
        log_axis(ax, "x", float(rates.min()), float(rates.max()))
        for colour, decay in zip(_COLOURS, np.unique(decays), strict=False):
            points = np.flatnonzero((decays == decay) & finite)
            points = points[np.argsort(rates[points])]
            label = f"weight decay {setting(float(decay))}"
            ax.plot(rates[points], values[points], "o-", color=colour, markersize=5, label=label)
        worst = float(np.nanmin(values) if more else np.nanmax(values))
        ax.plot(rates[~finite], np.full(int((~finite).sum()), worst), "x", color=ORANGE, markersize=7)
        ax.plot(
            rates[best],
            values[best],
            "o",
            color=ORANGE,
            markersize=12,
            fillstyle="none",
            markeredgewidth=2,
        )
        if len(np.unique(decays)) > 1:
            ax.legend(loc="best", fontsize=10)
        ax.set_xlabel("learning rate")
        ax.set_ylabel(f"{score.rpartition('/')[2]}{', per cent' if percent else ''}")
        plain_numbers(ax, "y")

    return (
        paint,
        f"{score}{' in per cent' if percent else ''} by learning rate and weight decay, {len(frame)} cells; the best is circled, "
        "crosses diverged.",
    )
