"""Diagnostics of the least-squares model: residuals, and the spread of runs with and without each trick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ablate.report.clean import shorten
from ablate.report.numbers import Units
from ablate.report.plots.axes import dots, plain_numbers, zero_line
from ablate.report.plots.palette import BLUE, INK, ORANGE, PALE
from ablate.report.plots.picture import Picture, picture


def residuals(rows: Sequence[Mapping[str, Any]], metric: str, units: Units) -> Picture:
    """Residual against fitted value, and residuals against normal quantiles. `rows`: fitted, residual."""
    fitted = np.array([row["fitted"] for row in rows], dtype=float) * units.factor
    left = np.array([row["residual"] for row in rows], dtype=float) * units.factor
    ordered = np.sort(left)
    quantiles = _normal_quantiles(len(left)) * (left.std() or 1.0)

    def paint(figure: Figure) -> None:
        plain, normal = figure.subplots(1, 2)
        zero_line(plain, vertical=False)
        dots(plain, fitted, left, colour=BLUE, size=5.5, alpha=0.75)
        plain.set_xlabel(f"fitted {shorten(metric, 30)}{units.label}")
        plain.set_ylabel(f"residual{units.label_of_difference}")
        normal.axline((0, 0), slope=1, color=PALE, linewidth=1.2)
        dots(normal, quantiles, ordered, colour=BLUE, size=5.5, alpha=0.75)
        normal.set_xlabel("expected if normal")
        normal.set_ylabel("residual, sorted")
        for ax in (plain, normal):
            plain_numbers(ax)

    return picture(
        "residuals",
        paint,
        height=300,
        caption=f"What the main effects and blocks leave unexplained (n = {len(rows)} runs). Left: no funnel and no bend means one σ and no "
        "strong interaction. Right: points on the line mean normal noise.",
        alt=f"Residuals of {len(rows)} runs; standard deviation {units.effect(float(left.std()) / units.factor)}.",
    )


def spread(rows: Sequence[Mapping[str, Any]], labels: Sequence[str], sigma: float, units: Units) -> Picture:
    """Run-to-run σ with and without each trick. `rows`: sigma_with, sigma_without."""

    def paint(figure: Figure) -> None:
        ax = figure.add_subplot()
        ax.axvline(sigma * units.factor, color=PALE, linewidth=1.4)
        for position, row in enumerate(rows):
            one, other = row["sigma_with"] * units.factor, row["sigma_without"] * units.factor
            ax.plot([one, other], [position, position], color=PALE, linewidth=2)
            ax.plot(
                other,
                position,
                "o",
                color=ORANGE,
                markersize=6.5,
                markerfacecolor="none",
                markeredgewidth=1.6,
            )
            ax.plot(one, position, "o", color=BLUE, markersize=6.5)
        ax.set_yticks(range(len(rows)), [shorten(label, 30) for label in labels], color=INK)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        widest = max(max(row["sigma_with"], row["sigma_without"], sigma) for row in rows)
        ax.set_xlim(0, 1.06 * units.factor * widest or 1.0)  # equal values have no spread
        ax.grid(False, axis="y")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        plain_numbers(ax, "x")
        ax.set_xlabel(f"σ of one run{units.label_of_difference}: with it (dot), without it (ring)")

    return picture(
        "sigma-by-arm",
        paint,
        height=round(62 + 23 * len(rows)),
        caption="Run-to-run standard deviation with each trick (dot) and without it (ring); the line is the pooled σ. A trick that widens the "
        "spread makes training less predictable, whatever its mean.",
        alt="σ with and without each trick: "
        + "; ".join(
            f"{shorten(label, 30)} {units.effect(row['sigma_with']).lstrip('+')} and {units.effect(row['sigma_without']).lstrip('+')}"
            for label, row in zip(labels, rows, strict=True)
        ),
    )


def _normal_quantiles(count: int) -> np.ndarray:
    """Expected order statistics of a standard normal sample (Blom 1958)."""
    from statistics import NormalDist

    return np.array([NormalDist().inv_cdf((i + 1 - 0.375) / (count + 0.25)) for i in range(count)])
