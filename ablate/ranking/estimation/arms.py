"""The analysis of a paired design (drop-one, add-one), in the form of an array's: table, failures, spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.ranking.designs.design import Factor
from ablate.ranking.designs.factorial import shipped_levels
from ablate.ranking.estimation.analysis import Analysis, Declaration, analyse
from ablate.ranking.estimation.coding import by_level, lines
from ablate.ranking.estimation.effects import fit_effects
from ablate.ranking.estimation.paired import paired
from ablate.ranking.verdicts.verdicts import verdicts
from ablate.records.designs import DROP_ONE, PairedEstimand
from ablate.records.trick import PLACEBO

_ESTIMATES = (
    "effect",
    "low",
    "high",
    "level_of_confidence",
    "se",
    "df",
    "p",
    "runs",
    "runs_failed",
    "runs_with",
)
_JUDGED = ("p_adjusted", "verdict", "margin", "margin_auto", "more_runs", "note")


def analyse_arms(
    frame: pd.DataFrame,
    factors: Sequence[Factor],
    declaration: Declaration,
    *,
    estimand: PairedEstimand,
    shipped: Mapping[str, str] | None = None,
    look: int = 1,
) -> Analysis:
    """Effects of the arms of a paired design: two-way least squares (arms + blocks), one pooled variance.

    `frame`: as for `analyse`; runs of one block are a pair. Estimates are those of `paired`; ranks, spread,
    P(A > B), residuals and failure rates come from the same runs with a column for each arm. The placebo has
    seeds of its own: what runs of one seed share does not cancel in its pairs, so that it is judged by their
    own variance and stays out of the others'. A trick without which every run fails helps, as one with which
    every run fails hurts. Raises InputError.
    """
    said = declaration
    frame = frame.reset_index(drop=True)
    columns, plain = as_arms(frame, factors, estimand, shipped)
    whole = analyse(columns, plain, said, look=look)
    idle = _idle(frame, estimand)
    parts = []
    for part, chosen, pooled in (
        (frame[~idle], [f for f in factors if f.name != PLACEBO], True),
        (frame, [f for f in factors if f.name == PLACEBO], False),
    ):
        if chosen:
            every = paired(
                part, factors, said.metric, said.direction, estimand=estimand, shipped=shipped,
                confidence=said.confidence, collapse=said.collapse, pooled=pooled,
            )  # fmt: skip
            parts.append(every[every["trick"].isin([factor.name for factor in chosen])])
    effects = pd.concat(parts, ignore_index=True)
    shared = fit_effects(columns[~idle], plain, said.metric, said.direction, collapse=said.collapse)
    effects["sigma"] = shared.sigma  # σ of one run within blocks: the unit of the margin
    judged = verdicts(
        effects,
        margin=said.margin,
        large=said.large,
        look=look,
        looks=said.looks,
        wave_runs=said.wave_runs,
        total_runs=len(frame),
    )
    judgements, failures = by_level(judged), by_level(whole.failures)
    rows = []
    for row in lines(whole.table):
        key = (row["trick"], row["level"])
        effect, failure = judgements.get(key), failures[key]
        if effect is not None and np.isfinite(effect["effect"]):
            row |= {name: effect[name] for name in (*_ESTIMATES, *_JUDGED)}
        elif failure["p_adjusted"] <= said.level and failure["difference"] < 0:
            row["verdict"] = "helps"
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(whole.table.columns))
    table["more_runs"] = pd.array([None if pd.isna(n) else int(n) for n in table["more_runs"]], dtype="Int64")
    return replace(whole, table=table, interactions=whole.interactions.iloc[:0])


def _idle(frame: pd.DataFrame, estimand: str) -> NDArray[np.bool_]:
    """Rows [n] of the placebo's own arm."""
    if PLACEBO not in frame.columns:
        return np.zeros(len(frame), dtype=bool)
    return np.asarray(frame[PLACEBO] == ("off" if estimand == DROP_ONE else "on"))


def as_arms(
    frame: pd.DataFrame,
    factors: Sequence[Factor],
    estimand: str,
    shipped: Mapping[str, str] | None,
) -> tuple[pd.DataFrame, list[Factor]]:
    """The frame with one column an arm, and the factors of those columns, so that each main effect is an arm's
    difference from the arm it is compared with.

    drop-one: where dropping a parent turned its children off, the children count as not dropped.
    """
    if estimand != DROP_ONE:
        return frame, [Factor(factor.name, factor.levels) for factor in factors]
    recipe = shipped_levels(factors, shipped)
    by_name = {factor.name: factor for factor in factors}
    frame = frame.copy()
    plain = []
    for factor in factors:
        level = recipe[factor.name]
        if level == factor.levels[0]:
            continue
        plain.append(Factor(factor.name, (factor.levels[0], level)))
        if factor.parent is not None:
            above = (frame[factor.parent] == by_name[factor.parent].levels[0]).to_numpy()
            frame[factor.name] = frame[factor.name].mask(above, level)
    return frame, plain
