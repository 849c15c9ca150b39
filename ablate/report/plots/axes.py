"""Small helpers that several plots share: axes, dots by the thousand, smoothing, labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from ablate.report.numbers import minus, power_of_ten
from ablate.report.plots.palette import GREY, MUTED

Floats = NDArray[np.float64]


def plain_numbers(ax: Axes, which: str = "both") -> None:
    """True minus signs and no offsets on linear axes."""
    for name, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
        if which in ("both", name):
            axis.set_major_formatter(FuncFormatter(lambda value, _: minus(f"{value:.10g}")))


def log_axis(ax: Axes, which: str, low: float, high: float) -> None:
    """A logarithmic axis with ticks at powers of ten as `10⁻³`; at 1, 2, 5 if it spans little."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    narrow = low > 0 and high / low < 30
    axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if narrow else (1.0,), numticks=7))
    axis.set_minor_locator(NullLocator())
    label = (lambda value, _: f"{value:.3g}") if narrow else (lambda value, _: power_of_ten(value))
    axis.set_major_formatter(FuncFormatter(label))


def whole_numbers(ax: Axes, which: str = "x") -> None:
    """Ticks at whole numbers only (epochs, trials)."""
    (ax.xaxis if which == "x" else ax.yaxis).set_major_locator(MaxNLocator(integer=True, nbins=8))


def dots(ax: Axes, x: ArrayLike, y: ArrayLike, *, colour: str, size: float = 4.0, alpha: float = 0.6) -> None:
    """Round dots as one path (strokes of zero length with round caps): about 15 bytes each in the file."""
    points = np.column_stack([np.asarray(x, dtype=float), np.asarray(y, dtype=float)])
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return
    codes = np.tile(np.array([Path.MOVETO, Path.LINETO], dtype=Path.code_type), len(points))
    path = Path(np.repeat(points, 2, axis=0), codes)
    path.should_simplify = False
    ax.add_patch(
        PathPatch(path, fill=False, edgecolor=colour, linewidth=size, capstyle="round", alpha=alpha, zorder=3)
    )
    ax.update_datalim(points)
    ax.autoscale_view()


def smooth(values: ArrayLike, window: int = 0) -> Floats:
    """Centred moving average that narrows towards the ends, so that it starts and ends at the data.

    `window`: points, odd; default a tenth of them, so that a short curve is unchanged. Gaps (NaN) are
    left out.
    """
    data = np.asarray(values, dtype=float)
    half = (window or len(data) // 10 | 1) // 2
    average = np.full(len(data), np.nan)
    for index in range(len(data)):
        reach = min(half, index, len(data) - 1 - index)
        near = data[index - reach : index + reach + 1]
        finite = near[np.isfinite(near)]
        if len(finite):
            average[index] = finite.mean()
    return average


def thin(length: int, most: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Positions of at most `most` evenly spaced points, first and last among them."""
    if length <= most:
        return np.arange(length)
    return np.unique(np.linspace(0, length - 1, most).round().astype(int))


def note(ax: Axes, text: str) -> None:
    """A word in the middle of an empty panel."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=MUTED)
    ax.set_xticks([])
    ax.set_yticks([])


def zero_line(ax: Axes, *, vertical: bool = True) -> None:
    """A line at zero."""
    (ax.axvline if vertical else ax.axhline)(0, color=GREY, linewidth=1.1, zorder=1)


def finite(values: ArrayLike) -> Floats:
    """The finite values, as an array."""
    array: Floats = np.asarray(values, dtype=float)
    return array[np.isfinite(array)]
