"""Unnamed numeric columns with values at which runs fail: a grid that was averaged over."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.ranking.estimation.least_squares import Matrix
from ablate.ranking.tables.cells import labels, numbers

BINS = 8
_MOST_VALUES = 20
_FEWEST = 4
_OFTEN = 0.25
_EXPLAINED = 0.5
_MEASURED = re.compile(
    r"time|duration|second|minute|hour|elapsed|epoch|step|iter|loss|acc|error|score|metric|memory|flops|date|created|"
    r"summary|seed|index|param(eter)?s?_?count|gpu|cpu|user_attrs|number|\bid\b|_id$|pid$",
    re.IGNORECASE,
)
"""Names of columns that are measured or counted in a run, not set before it."""


def nuisance_warnings(
    frame: pd.DataFrame, values: Matrix, used: NDArray[np.bool_], failed: NDArray[np.bool_], roles: Collection[str],
    factors: Collection[str],
) -> list[str]:  # fmt: skip
    """One line for each setting without a role at some of whose values many runs fail, or that determines the metric.

    `values` [n]: the metric; `used`, `failed` [n]: see `RunMasks`; `roles`: columns with another purpose; of `factors` only
    failures are reported. Means over such a grid are means of the survivors, or of an arbitrary
    grid. Columns of words that determine the metric may be tasks.
    """
    warnings = []

    @cache
    def arms() -> NDArray[np.intp]:
        return np.asarray(frame.groupby(list(factors), dropna=False).ngroup(), dtype=np.intp)

    for name in frame.columns:
        if name in roles or _MEASURED.search(str(name)):
            continue
        if (settings := numbers(frame[name])) is None:
            if name not in factors:
                warnings += _task_warning(str(name), labels(frame[name]), arms, values, used)
            continue
        groups = binned(settings, np.isfinite(settings) & (used | failed))
        if groups is None:
            continue
        codes, levels = pd.factorize(groups)
        here = codes >= 0
        runs = np.bincount(codes[here], (used | failed)[here])
        often = np.bincount(codes[here], failed[here])
        rates = np.where(runs >= _FEWEST, often / np.maximum(runs, 1), np.nan)
        if np.isfinite(rates).sum() < 2:
            continue
        worst = int(np.nanargmax(rates))
        advice = f"--tune {name} judges each level at its best value"
        if rates[worst] >= _OFTEN and np.nanmin(rates) <= rates[worst] / 2 and often[worst] >= _FEWEST:
            warnings.append(
                f"{often[worst]:.0f} of {runs[worst]:.0f} runs with {name} = {levels[worst]} failed ({often.sum():.0f} of {runs.sum():.0f} in "
                f"all): effects are averages over '{name}' among the survivors; {advice}"
            )
            continue
        share = _explained(values, codes, here & used)
        if name not in factors and len(levels) > 2 and share >= _EXPLAINED:
            warnings.append(
                f"'{name}' is no factor and explains {share:.0%} of the variance: effects are averages over it; {advice}"
            )
    return warnings


def _task_warning(
    name: str,
    column: pd.Series,
    arms: Callable[[], NDArray[np.intp]],
    values: Matrix,
    used: NDArray[np.bool_],
) -> list[str]:
    """A line for a column of words that explains much of the variance: it may name tasks, unless it names the arms [n] that `arms` returns."""
    codes, levels = pd.factorize(column)
    if not 1 < len(levels) <= used.sum() / _FEWEST:
        return []
    share = _explained(values, codes, (codes >= 0) & used)
    if share < _EXPLAINED or pd.Series(arms()).groupby(codes).nunique().max() < 2:
        return []
    return [
        f"'{name}' is no factor and explains {share:.0%} of the variance: if it names tasks, --block {name} gives an effect in "
        "each and an interval over them"
    ]


def _explained(values: Matrix, codes: NDArray[np.intp], here: NDArray[np.bool_]) -> float:
    """The share of the variance between groups, adjusted for their number (ω²); 0 where runs are few."""
    group, y = codes[here], values[here]
    count = len(np.unique(group))
    total = float(np.square(y - y.mean()).sum()) if len(y) else 0.0
    if len(y) < 4 * count or not total > 0:
        return 0.0
    means = np.bincount(group, y) / np.maximum(np.bincount(group), 1)
    within = float(np.square(y - means[group]).sum())
    noise = within / (len(y) - count)
    return (total - within - (count - 1) * noise) / (total + noise)


def binned(settings: Matrix, here: NDArray[np.bool_], bins: int = BINS) -> pd.Series | None:
    """Labels [n] of the values of a setting, NaN where it is absent: its values, or `bins` ranges of equal counts
    where there are many. None where it has one value."""
    present = settings[here]
    distinct = np.unique(present)
    if len(distinct) < 2:
        return None
    shown = np.where(here, settings, np.nan)
    if len(distinct) <= _MOST_VALUES:
        texts = {value: f"{value:g}" for value in distinct}
        return pd.Series(shown).map(texts)
    edges = np.unique(np.quantile(present, np.linspace(0, 1, bins + 1)))
    which = np.clip(np.searchsorted(edges, shown, side="right") - 1, 0, len(edges) - 2)
    names = np.array([f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(edges)], dtype=object)
    return pd.Series(names[which], dtype=object).where(here)
