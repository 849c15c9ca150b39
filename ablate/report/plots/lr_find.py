"""The six steps of lr-find, one panel each, drawn from a step's figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablate.report.clean import shorten
from ablate.report.numbers import significant
from ablate.report.plots.axes import finite, log_axis, plain_numbers, smooth, thin, whole_numbers
from ablate.report.plots.grid import grid
from ablate.report.plots.palette import BLUE, GREEN, GREY, INK, ORANGE, PALE, PURPLE
from ablate.report.plots.picture import Picture, picture

_RATES = ("lr", "learning_rate", "learning_rates", "rates")
_COLOURS = (
    (BLUE, "-"),
    (ORANGE, (0, (5, 2))),
    (GREEN, (0, (1, 1.5))),
    (PURPLE, (0, (3, 1, 1, 1))),
    (GREY, "-"),
)
_POINTS = 400
_LINES = 5
Painted = tuple[Callable[[Axes], None], str]


def panel(step: Mapping[str, Any], metric: str = "", *, higher: bool = True) -> Picture | None:
    """The picture of one step of `lr-find.json`, of a grid by the study's `metric`; None if its figures have nothing to draw, as the check of the data."""
    if step.get("step") == 0:
        return None
    figures = dict(step.get("figures") or {})
    painted = (
        grid(figures.get("cells"), metric, higher=higher)
        or _rate_test(figures)
        or _lines(_series(figures), "step" if int(step.get("step", 0)) in (1, 2, 3) else "epoch")
        or _against_expected(figures)
    )
    if painted is None:
        return None
    paint_axes, caption = painted
    number, title = step.get("step", 0), shorten(str(step.get("name", "")), 40)

    def paint(figure: Figure) -> None:
        paint_axes(figure.add_subplot())

    return picture(
        f"lr-find-{int(number)}", paint, width=420, height=250, caption=caption,
        alt=f"Step {number}, {title}: {caption}",
    )  # fmt: skip


def _rate_test(figures: Mapping[str, Any]) -> Painted | None:
    """Loss against learning rate, with a line for each suggestion."""
    name = next((name for name in _RATES if _is_series(figures.get(name))), None)
    losses = figures.get("loss", figures.get("losses"))
    if name is None or not _is_series(losses) or len(losses) != len(figures[name]):
        return None
    rates, values = np.asarray(figures[name], dtype=float), np.asarray(losses, dtype=float)
    drawable = (rates > 0) & np.isfinite(values)
    if drawable.sum() < 2:
        return None
    rates, values = rates[drawable], values[drawable]
    suggestions = {
        str(key): float(value)
        for key, value in dict(figures.get("suggestions") or {}).items()
        if isinstance(value, int | float) and isfinite(value) and value > 0
    }

    def paint(ax: Axes) -> None:
        log_axis(ax, "x", float(rates.min()), float(rates.max()))
        at = thin(len(rates), _POINTS)
        ax.plot(rates[at], values[at], color=PALE, linewidth=1)
        ax.plot(rates[at], smooth(values)[at], color=BLUE)
        usual = float(values[: max(1, len(values) // 3)].max())
        ax.set_ylim(float(values.min()) - 0.05 * abs(usual), usual * 1.35 if usual > 0 else usual + 1)
        for (label, rate), (colour, style) in zip(
            sorted(suggestions.items(), key=lambda item: item[1]), _COLOURS[1:], strict=False
        ):
            ax.axvline(
                rate,
                color=colour,
                linestyle=style,
                linewidth=1.6,
                label=f"{shorten(label, 16)}: {significant(rate, 2)}",
            )
        if suggestions:
            ax.legend(loc="best", fontsize=10)
        ax.set_xlabel("learning rate")
        ax.set_ylabel("loss")
        plain_numbers(ax, "y")

    spread = ""
    if len(suggestions) > 1:
        spread = f" The suggestions differ by a factor of {max(suggestions.values()) / min(suggestions.values()):.1f}."
    return (
        paint,
        f"Range test: loss while the rate grows, n = {len(rates)} steps, raw (grey) and smoothed (blue).{spread}",
    )


def _lines(series: Mapping[str, Sequence[float]], along: str) -> Painted | None:
    """Any series over steps or epochs: smoothed over raw."""
    if not series:
        return None
    names = list(series)[:_LINES]
    longest = max(len(series[name]) for name in names)

    def paint(ax: Axes) -> None:
        for name, (colour, style) in zip(names, _COLOURS, strict=False):
            values = np.asarray(series[name], dtype=float)
            at = thin(len(values), _POINTS)
            ax.plot(at + 1, values[at], color=colour, linewidth=0.8, alpha=0.35)
            ax.plot(at + 1, smooth(values)[at], color=colour, linestyle=style, label=shorten(name, 22))
        everything = finite(np.concatenate([np.asarray(series[name], dtype=float) for name in names]))
        if len(everything) and everything.min() > 0 and everything.max() / everything.min() > 100:
            log_axis(ax, "y", float(everything.min()), float(everything.max()))
        else:
            plain_numbers(ax, "y")
        ax.legend(loc="best", fontsize=10)
        ax.set_xlabel(along)
        whole_numbers(ax)

    return (
        paint,
        f"{', '.join(shorten(name, 30) for name in names)}: raw (thin) and smoothed (thick), n = {longest} points.",
    )


def _against_expected(figures: Mapping[str, Any]) -> Painted | None:
    """Two or more plain numbers next to each other, such as the initial loss and its expected value."""
    numbers = {
        str(key): float(value)
        for key, value in figures.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and isfinite(value)
        and "ratio" not in str(key)
    }
    if len(numbers) < 2:
        return None
    names = list(numbers)[:_LINES]

    def paint(ax: Axes) -> None:
        for position, name in enumerate(names):
            ax.plot([0, numbers[name]], [position, position], color=PALE, linewidth=2)
            ax.plot(
                numbers[name],
                position,
                "o" if position == 0 else "D",
                color=BLUE if position == 0 else GREY,
                markersize=8,
            )
            ax.annotate(
                significant(numbers[name], 4),
                (numbers[name], position),
                xytext=(0, 9),
                textcoords="offset points",
                ha="center",
                color=INK,
            )
        ax.set_yticks(range(len(names)), [shorten(name.replace("_", " "), 22) for name in names])
        ax.set_ylim(len(names) - 0.5, -0.6)
        ax.margins(x=0.14)
        ax.grid(False, axis="y")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        plain_numbers(ax, "x")

    shown = "; ".join(f"{name.replace('_', ' ')} {significant(numbers[name], 4)}" for name in names)
    return paint, f"Measured and expected values: {shown}."


def _series(figures: Mapping[str, Any]) -> dict[str, Sequence[float]]:
    """Every list of numbers in the figures, those inside `curves` (or any table of lists) first."""
    series: dict[str, Sequence[float]] = {}
    for key, value in figures.items():
        if isinstance(value, Mapping):
            inner = {str(name): line for name, line in value.items() if _is_series(line)}
            prefix = "" if key in ("curves", "series") else f"{key}/"
            series = {**{prefix + name: line for name, line in inner.items()}, **series}
    for key, value in figures.items():
        if _is_series(value) and key not in _RATES and key not in ("epochs", "steps", "epoch", "step"):
            series[str(key)] = value
    losses = {name: line for name, line in series.items() if name.endswith("loss")}
    return losses or series  # accuracies have another scale


def _is_series(value: Any) -> bool:
    """A list of numbers; null for non-finite ones."""
    return (
        isinstance(value, list | tuple)
        and len(value) >= 2
        and all(
            item is None or (isinstance(item, int | float) and not isinstance(item, bool)) for item in value
        )
        and any(item is not None and isfinite(item) for item in value)
    )
