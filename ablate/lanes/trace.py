"""The record of a run while it trains, and the report after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ablate.records.run import Run


@dataclass(frozen=True)
class EpochReport:
    """Reported after each epoch of lanes of one age: their runs, and their curves so far (`curves[metric][lane]`).

    `others`: the curves of the group's other runs, ended or of another age.
    """

    runs: tuple[Run, ...]
    curves: dict[str, tuple[tuple[float, ...], ...]]
    others: dict[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)


EpochCallback = Callable[[EpochReport], Sequence[bool] | None]
"""Called after each epoch; returns which lanes to prune (or None)."""


@dataclass
class RunRecord:
    """One run's record while it trains.

    `best`: the epoch (the first is 1) whose weights are scored. `outputs`: split -> outputs `[N, C or D]` of those
    weights. `weights`: their state dict, if it is kept. Both are empty as long as the current weights are the
    ones to be scored.
    """

    curves: dict[str, list[float]] = field(default_factory=dict)
    best: int = 0
    outputs: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)

    def add(self, values: dict[str, float]) -> None:
        """Append an epoch's metrics to the curves."""
        for name, value in values.items():
            self.curves.setdefault(name, []).append(value)


def stacked_curves(traces: Sequence[RunRecord]) -> dict[str, tuple[tuple[float, ...], ...]]:
    """The curves so far by metric, of the runs that have begun, in the order of `traces`."""
    curves = [trace.curves for trace in traces]
    names = sorted({name for curves_of_lane in curves for name in curves_of_lane})
    return {
        name: tuple(tuple(curves_of_lane[name]) for curves_of_lane in curves if name in curves_of_lane)
        for name in names
    }
