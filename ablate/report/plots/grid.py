"""A grid search as a heat map: learning rate × weight decay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ablate.report.numbers import setting
from ablate.report.plots.palette import ORANGE

_SCORES = ("validation/accuracy", "validation/loss", "accuracy", "loss")


def grid(cells: Any) -> tuple[Callable[[Axes], None], str] | None:
    """Learning rate × weight decay, the score in each cell."""
    if not isinstance(cells, Sequence) or not cells:
        return None
    frame = pd.DataFrame([dict(cell) for cell in cells])
    score = next(
        (
            name
            for name in _SCORES
            if name in frame and pd.to_numeric(frame[name], errors="coerce").notna().any()
        ),
        None,
    )
    if score is None or not {"learning_rate", "weight_decay"} <= set(frame):
        return None
    frame[score] = pd.to_numeric(frame[score], errors="coerce").where(lambda column: np.isfinite(column))
    table = frame.pivot_table(index="weight_decay", columns="learning_rate", values=score, dropna=False)
    table = table.sort_index(ascending=False)
    percent = "accuracy" in score
    shown = table * 100 if percent else table
    better = table.max().max() if percent else table.min().min()

    def paint(ax: Axes) -> None:
        labels = shown.map(
            lambda value: "–" if pd.isna(value) else f"{value:.1f}" if percent else f"{value:.3g}"
        )
        sns.heatmap(shown, annot=labels, fmt="", cmap="crest" if percent else "crest_r", cbar=False, ax=ax,
                    linewidths=1.5, linecolor="none", annot_kws={"fontsize": 10.5})  # fmt: skip
        ax.set_xticklabels([setting(value) for value in shown.columns], rotation=0)
        ax.set_yticklabels([setting(value) for value in shown.index], rotation=0)
        place = np.argwhere(table.to_numpy() == better)
        if len(place):
            row, column = place[0]
            ax.add_patch(_box(column, row))
        ax.set_xlabel("learning rate")
        ax.set_ylabel("weight decay")
        ax.tick_params(length=0)
        ax.grid(False)
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)

    return (
        paint,
        f"{score}{' in per cent' if percent else ''} over learning rate and weight decay, {len(frame)} cells; the best is framed, – diverged.",
    )


def _box(column: int, row: int) -> Rectangle:
    return Rectangle((column + 0.03, row + 0.03), 0.94, 0.94, fill=False, edgecolor=ORANGE, linewidth=2.4)
