"""The whole analysis of one table of designed runs: everything that the report's ranking part shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablate.ranking.designs.design import Factor
from ablate.ranking.estimation.coding import by_level, coded, lines
from ablate.ranking.estimation.dispersion import (
    Correlation,
    far_runs,
    probability_of_improvement,
    seed_correlation,
    spread_by_arm,
)
from ablate.ranking.estimation.effects import Effects, effects_table, fit_effects
from ablate.ranking.estimation.failures import failure_effects
from ablate.ranking.estimation.interactions import interactions
from ablate.ranking.estimation.least_squares import Matrix
from ablate.ranking.estimation.ranks import rank_intervals
from ablate.ranking.verdicts.sequential import nominal_level
from ablate.ranking.verdicts.verdicts import verdicts


@dataclass(frozen=True, slots=True)
class Declaration:
    """What is fixed before the first run: margin (None: 0.95 σ̂, but no more than `large`), looks, wave size, collapse threshold.

    `collapse`: a metric this bad or worse (chance level) counts as a failed run. `level`: of each look.
    """

    metric: str
    direction: str
    margin: float | None = None
    looks: int = 3
    wave_runs: int | None = None
    collapse: float | None = None
    confidence: float = 0.95
    large: float | None = None

    @property
    def level(self) -> float:
        """The nominal level of each look."""
        return nominal_level(self.looks)


@dataclass(frozen=True, slots=True)
class Analysis:
    """`table`: effects with verdicts, with `rank, rank_low, rank_high, probability, probability_low,
    probability_high, sigma_with, sigma_without` as well. `failures`, `interactions`: see there.
    `residuals`: one row per used run (`position, fitted, residual, leverage`). `sigma`, `df`: one run's
    residual σ. `rho`: correlation of runs of one block. `runs` = used + failed + excluded.
    `warnings`: sentences that must accompany the ranking.
    """

    declaration: Declaration
    table: pd.DataFrame
    failures: pd.DataFrame
    interactions: pd.DataFrame
    residuals: pd.DataFrame
    rho: Correlation
    sigma: float
    df: float
    runs: int
    used: int
    failed: int
    excluded: int
    warnings: tuple[str, ...]


def analyse(
    frame: pd.DataFrame,
    factors: Sequence[Factor],
    declaration: Declaration,
    *,
    look: int = 1,
    robust: bool = False,
    covariates: Matrix | None = None,
    slopes: Mapping[str, Matrix] | None = None,
    sigma: float | None = None,
) -> Analysis:
    """Effects, verdicts, failures, ranks, interactions and warnings of the runs in `frame`.

    `frame`: one row a run: factor columns, `seed`, `block`, `wave`, `outcome`, metrics. `look`: how many
    waves are in. `sigma`: σ of the pilot for an automatic margin. `slopes`: see `effect_columns`; failures and
    spread compare the two halves. Raises InputError.
    """
    frame = coded(frame.reset_index(drop=True), factors)
    said = declaration
    fitted = fit_effects(
        frame, factors, said.metric, said.direction,
        robust=robust, collapse=said.collapse, covariates=covariates, slopes=slopes,
    )  # fmt: skip
    table = effects_table(fitted, frame, confidence=said.confidence)
    table = verdicts(
        table, margin=said.margin, large=said.large, sigma=sigma, look=look, looks=said.looks,
        wave_runs=said.wave_runs, total_runs=len(frame),
    )  # fmt: skip
    failures = failure_effects(
        frame,
        factors,
        said.metric,
        direction=said.direction,
        collapse=said.collapse,
        confidence=said.confidence,
    )
    ranks = rank_intervals(fitted, confidence=said.confidence)
    chance = probability_of_improvement(fitted, frame, confidence=said.confidence)
    spread = spread_by_arm(fitted, frame)
    for name in ("rank", "rank_low", "rank_high"):
        table[name] = ranks[name].to_numpy()
    for name, source in (
        ("probability", "probability"),
        ("probability_low", "low"),
        ("probability_high", "high"),
    ):
        table[name] = chance[source].to_numpy()
    for name in ("sigma_with", "sigma_without"):
        table[name] = spread[name].to_numpy()
    table = _judge_collapse(table, failures, said.level)
    used = fitted.used
    residuals = pd.DataFrame(
        {
            "position": np.flatnonzero(used),
            "fitted": (fitted.runs.values - fitted.residuals)[used]
            * (1 if said.direction == "higher" else -1),
            "residual": fitted.residuals[used],
            "leverage": fitted.leverage[used],
        }
    )
    return Analysis(
        said, table, failures, interactions(fitted, frame), residuals, seed_correlation(fitted, frame),
        fitted.sigma, fitted.df, len(frame), int(used.sum()), int(fitted.runs.failed.sum()),
        int(fitted.runs.excluded.sum()), warnings_of(fitted, frame, failures, spread),
    )  # fmt: skip


def warnings_of(
    fitted: Effects, frame: pd.DataFrame, failures: pd.DataFrame, spread: pd.DataFrame
) -> tuple[str, ...]:
    """Caveats of the intervals."""
    said = []
    failed, excluded = int(fitted.runs.failed.sum()), int(fitted.runs.excluded.sum())
    if failed:
        said.append(
            f"{failed} of {len(frame)} runs failed or collapsed: effects are means of the survivors, and "
            "their intervals may not hold; read the failure rates as well"
        )
    for row in lines(failures[failures["p_adjusted"] <= 0.05]):
        said.append(f"{row['trick']} changes the failure rate: {row['note']}")
    if excluded:
        said.append(f"{excluded} pruned or unfinished runs were left out")
    if far := far_runs(fitted, frame):
        named = frame["run"].iloc[far[:8]] if "run" in frame.columns else far[:8]
        said.append(
            f"{len(far)} {'run lies' if len(far) == 1 else 'runs lie'} far from the fit ({'lines' if 'run' in frame.columns else 'positions'} "
            f"{', '.join(map(str, named))}): collapses or "
            "heavy tails, with which no interval holds; set a collapse threshold (of a table: --collapse)"
        )
    missing = [
        term.label for term, value in zip(fitted.terms, fitted.estimate, strict=True) if np.isnan(value)
    ]
    if missing:
        said.append(f"not estimable from these runs: {', '.join(missing)}")
    # Twice the spread in one arm, beyond chance even over all arms.
    uneven = spread[spread["p"] <= 0.01 / max(len(spread), 1)]
    if len(uneven):
        said.append(f"runs scatter unequally with and without {', '.join(uneven['trick'])}: see σ by arm")
    if retune := [factor.name for factor in fitted.factors if factor.role == "needs_retune"]:
        said.append(f"measured at a learning rate tuned for another recipe: {', '.join(retune)}")
    return tuple(said)


def _judge_collapse(table: pd.DataFrame, failures: pd.DataFrame, level: float) -> pd.DataFrame:
    """Judge a trick by its failures if hardly a run with it survives, since it then has no mean."""
    table = table.copy()
    failed = by_level(failures)
    for i, row in zip(table.index, lines(table), strict=True):
        failure = failed.get((row["trick"], row["level"]))
        if failure is None or not failure["note"]:
            continue
        vanished = bool(np.isnan(row["effect"]))
        if vanished and failure["p_adjusted"] <= level and failure["difference"] > 0:
            table.loc[i, "verdict"] = "hurts"
        # not repeated in every row: `runs_failed` and the warning give the count
        if vanished or failure["p"] <= 0.05:
            table.loc[i, "note"] = "; ".join([failure["note"], *([row["note"]] if row["note"] else [])])
    return table
