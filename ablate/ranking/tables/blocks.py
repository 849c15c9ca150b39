"""Runs of many tasks: an effect in each, one overall whose interval includes the scatter between them, and ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablate.ranking.designs.design import Factor
from ablate.ranking.estimation.analysis import Analysis, Declaration
from ablate.ranking.estimation.coding import lines
from ablate.ranking.estimation.dispersion import Correlation
from ablate.ranking.estimation.effects import Effects, effects_table, fit_effects
from ablate.ranking.estimation.failures import failure_effects
from ablate.ranking.estimation.interactions import COLUMNS as INTERACTION_COLUMNS
from ablate.ranking.estimation.least_squares import Matrix
from ablate.ranking.estimation.outcomes import classify
from ablate.ranking.verdicts.sequential import half_width, two_sided
from ablate.ranking.verdicts.verdicts import verdicts
from ablate.records.errors import InputError

TASK = "task"
"""The column of a prepared table that names the block of a run."""
_UNEVEN = 10.0


@dataclass(frozen=True, slots=True)
class BlockAnalysis:
    """`analysis`: the effects over blocks and their verdicts. `effects`: `block, trick, level, effect, low, high, runs`,
    one row a block and effect. `ranks`: `trick, level, mean_rank, first, blocks`, the reference level included: a
    level's mean rank among the levels of its factor (1 is best), and in how many blocks it is the first."""

    analysis: Analysis
    effects: pd.DataFrame
    ranks: pd.DataFrame


def analyse_blocks(
    table: pd.DataFrame, factors: Sequence[Factor], declaration: Declaration, *, slopes: Mapping[str, Matrix],
    covariates: Matrix | None = None, robust: bool = False,
) -> BlockAnalysis:  # fmt: skip
    """Analyse each block (`table["task"]`) separately, then the effects as a sample of blocks.

    The overall effect is the mean of the blocks' effects, all of equal weight, and its interval is Student's t over
    blocks: their scatter holds both the noise of runs and how tasks differ, so the interval is about the next task
    of that kind, exactly so where effects are normal over tasks. It needs two blocks; a level is averaged over
    the blocks that have it. Raises InputError.
    """
    said = declaration
    names = [name for name in pd.unique(table[TASK]) if name == name]
    if len(names) < 2:
        raise InputError(
            "--block needs a column with two or more values", hint="leave it out for a single task"
        )
    fits: dict[str, tuple[Effects, pd.DataFrame]] = {}
    left_out = []
    for name in sorted(names, key=str):
        here = (table[TASK] == name).to_numpy()
        inside = table[here].drop(columns=TASK).reset_index(drop=True)
        try:
            fitted = fit_effects(
                inside, factors, said.metric, said.direction, robust=robust, collapse=said.collapse,
                slopes={key: column[here] for key, column in slopes.items()},
                covariates=None if covariates is None else covariates[here],
            )  # fmt: skip
        except InputError:  # no run of the block has a value
            left_out.append(name)
            continue
        fits[str(name)] = (fitted, inside)
    if len(fits) < 2:
        raise InputError("fewer than two blocks have a finished run with a value", hint="leave out --block")
    effects = pd.concat(
        [effects_table(fitted, inside, confidence=said.confidence).assign(block=name) for name, (fitted, inside) in fits.items()],
        ignore_index=True,
    )  # fmt: skip
    sigma, df = _pooled_sigma([fitted for fitted, _ in fits.values()])
    overall = _overall(effects, said, sigma)
    judged = _with_verdicts(overall, said, len(table))
    failures = failure_effects(
        table,
        factors,
        said.metric,
        direction=said.direction,
        collapse=said.collapse,
        confidence=said.confidence,
    )
    ranks = _ranks(effects, factors, list(slopes))
    runs = classify(table, said.metric, said.direction, collapse=said.collapse)
    failed = int(runs.failed.sum())
    analysis = Analysis(
        said, judged, failures, pd.DataFrame(columns=INTERACTION_COLUMNS),
        pd.DataFrame(columns=["position", "fitted", "residual", "leverage"]), Correlation(np.nan, np.nan, np.nan, 0),
        sigma, df, len(table), int(runs.used.sum()), failed, int(runs.excluded.sum()),
        tuple(_warnings(effects, failures, left_out, failed, len(table))),
    )  # fmt: skip
    kept = effects[["block", "trick", "level", "effect", "low", "high", "runs"]]
    return BlockAnalysis(analysis, kept, ranks)


def over_blocks(values: Matrix, confidence: float = 0.95) -> tuple[float, float, float, float]:
    """Mean of the blocks' effects, its standard error, degrees of freedom and half its t interval; NaN below two."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return (float(values[0]) if len(values) else np.nan), np.nan, 0.0, np.nan
    se, df = float(values.std(ddof=1) / np.sqrt(len(values))), len(values) - 1.0
    return float(values.mean()), se, df, float(half_width(np.array(se), np.array(df), confidence))


def _overall(effects: pd.DataFrame, said: Declaration, sigma: float) -> pd.DataFrame:
    rows = []
    for (trick, level), several in effects.groupby(["trick", "level"], sort=False):
        values = several["effect"].to_numpy(dtype=float)
        effect, se, df, half = over_blocks(values, said.confidence)
        finite = values[np.isfinite(values)]
        notes = [f"better in {int((finite > 0).sum())} of {len(finite)} blocks"]
        if len(finite) > 1:
            new = half * np.sqrt(len(finite) + 1)
            notes.append(f"in a further block {effect - new:.3g} to {effect + new:.3g}")
        else:
            notes.append("no interval: in one block only" if len(finite) else "not estimable in any block")
        rows.append({
            "trick": trick, "level": level, "metric": said.metric, "direction": said.direction, "effect": effect,
            "low": effect - half, "high": effect + half, "level_of_confidence": said.confidence, "se": se, "df": df,
            "p": float(two_sided(np.array(effect), np.array(se), np.array(df))), "sigma": sigma,
            "runs": int(several["runs"].sum()), "runs_failed": int(several["runs_failed"].sum()),
            "runs_with": int(several["runs_with"].sum()), "note": "; ".join(notes),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _with_verdicts(overall: pd.DataFrame, said: Declaration, runs: int) -> pd.DataFrame:
    """Verdicts; the forecast in runs is left out, since only further blocks narrow the interval."""
    notes = overall["note"].to_list()
    table = verdicts(
        overall.assign(note=""), margin=said.margin, large=said.large, looks=said.looks, total_runs=runs
    )
    undecided = (table["verdict"] == "undecided").to_numpy()
    table["note"] = [
        "; ".join(
            filter(
                None, (*(["undecided: only more blocks narrow the interval"] if open_ else [judged]), note)
            )
        )
        for open_, judged, note in zip(undecided, table["note"], notes, strict=True)
    ]
    table["more_runs"] = pd.array([None] * len(table), dtype="Int64")
    table["rank"] = table["effect"].rank(ascending=False)
    table["rank_low"], table["rank_high"] = 1, len(table)
    for name in ("probability", "probability_low", "probability_high", "sigma_with", "sigma_without"):
        table[name] = np.nan
    return table


def _ranks(effects: pd.DataFrame, factors: Sequence[Factor], slopes: Sequence[str]) -> pd.DataFrame:
    """Ranks of the levels of each factor in the blocks where all of them are estimated."""
    rows = []
    for factor in factors:
        if factor.name in slopes or factor.parent is not None:
            continue
        rows_of_factor = effects[effects["trick"] == factor.name]
        wide = rows_of_factor.pivot(index="block", columns="level", values="effect").reindex(
            columns=list(factor.levels)
        )
        wide[factor.levels[0]] = 0.0
        wide = wide.dropna()
        ranks = wide.rank(axis=1, ascending=False)
        for level in factor.levels:
            rows.append({
                "trick": factor.name, "level": level, "mean_rank": float(ranks[level].mean()) if len(wide) else np.nan,
                "first": int((ranks[level] == ranks.min(axis=1)).sum()), "blocks": len(wide),
            })  # fmt: skip
    table = pd.DataFrame(rows, columns=["trick", "level", "mean_rank", "first", "blocks"])
    order = {factor.name: i for i, factor in enumerate(factors)}
    return table.sort_values(["trick", "mean_rank"], key=lambda c: c.map(order) if c.name == "trick" else c, ignore_index=True)  # fmt: skip


def _pooled_sigma(fits: Sequence[Effects]) -> tuple[float, float]:
    """One run's σ within blocks, pooled over them, and its degrees of freedom."""
    estimated = [fit for fit in fits if fit.df > 0 and np.isfinite(fit.sigma)]
    df = sum(fit.df for fit in estimated)
    return (float(np.sqrt(sum(fit.sigma**2 * fit.df for fit in estimated) / df)) if df else np.nan), float(df)


def _warnings(
    effects: pd.DataFrame, failures: pd.DataFrame, left_out: Sequence[str], failed: int, runs: int
) -> list[str]:
    said = [
        f"effects are means over {effects['block'].nunique()} blocks of equal weight; intervals include the scatter between blocks"
    ]
    if left_out:
        said.append(f"no run has a value in {', '.join(map(str, left_out))}: left out")
    if failed:
        said.append(
            f"{failed} of {runs} runs failed or collapsed: effects are means of the survivors, read the failure rates as well"
        )
    for row in lines(failures[failures["p_adjusted"] <= 0.05]):
        said.append(f"{row['trick']} changes the failure rate: {row['note']}")
    size = effects.assign(size=effects["effect"].abs()).groupby("block")["size"].median()
    size = size[size > 0]
    if len(size) > 1 and size.max() > _UNEVEN * size.median():
        said.append(
            f"effects in '{size.idxmax()}' are {size.max() / size.median():.0f} times those of the median block and dominate the mean: look at the ranks"
        )
    return said
