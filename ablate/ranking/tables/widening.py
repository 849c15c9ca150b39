"""Intervals of effects between arms whose tuning is not settled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ablate.ranking.estimation.analysis import Analysis
from ablate.ranking.estimation.coding import lines
from ablate.ranking.tables.prepare import PreparedTable
from ablate.ranking.tables.tuned import WIDENED
from ablate.ranking.verdicts.sequential import half_width, two_sided
from ablate.ranking.verdicts.verdicts import verdicts


def widened(analysis: Analysis, ready: PreparedTable, unsettled: NDArray[np.bool_]) -> Analysis:
    """`analysis` with the intervals of effects widened by the share of their runs [n] whose arm's tuning is unsettled."""
    said = analysis.declaration
    table, runs = analysis.table.copy(), ready.table
    share = []
    for row in lines(table):
        factor = next(factor for factor in ready.factors if factor.name == row["trick"])
        levels = factor.levels if row["trick"] in ready.slopes else (factor.levels[0], row["level"])
        here = runs[factor.name].isin(levels).to_numpy()
        share.append(unsettled[here].mean() if here.any() else 0.0)
    table["se"] *= np.sqrt(1 + (WIDENED - 1) * np.array(share))
    half = half_width(table["se"].to_numpy(), table["df"].to_numpy(), said.confidence)
    table["low"], table["high"] = table["effect"] - half, table["effect"] + half
    table["p"] = two_sided(*(table[name].to_numpy(dtype=float) for name in ("effect", "se", "df")))
    before, after = (
        verdicts(
            one.assign(note=""), margin=said.margin, large=said.large, looks=said.looks, total_runs=len(runs)
        )
        for one in (analysis.table, table)
    )
    estimated = table["effect"].notna()
    for name in ("p_adjusted", "verdict", "more_runs"):
        table[name] = after[name].where(estimated, table[name])
    table["note"] = [
        "; ".join(
            part for part in (new, *note.split("; ")) if part and (part == new or part not in old.split("; "))
        )
        for note, old, new in zip(table["note"], before["note"], after["note"], strict=True)
    ]
    return replace(analysis, table=table)
