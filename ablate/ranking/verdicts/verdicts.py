"""From effects to words: helps, hurts, no measurable effect, undecided, exploratory."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ablate.ranking.estimation.coding import lines
from ablate.ranking.verdicts.sequential import (
    MARGIN_IN_SIGMA,
    decide,
    equivalence,
    half_width,
    large_effect,
    nominal_level,
    smallness_level,
    two_sided,
    word,
)
from ablate.records.designs import AVERAGE
from ablate.records.errors import InputError
from ablate.records.trick import PLACEBO

NOT_DECIDABLE = "not decidable within budget"
_FURTHEST = 1000  # waves (or pairs) that the forecast looks ahead


def verdicts(
    table: pd.DataFrame,
    *,
    margin: float | None = None,
    large: float | None = None,
    sigma: float | None = None,
    look: int = 1,
    looks: int = 3,
    wave_runs: int | None = None,
    total_runs: int | None = None,
) -> pd.DataFrame:
    """`table` (of `effects` or `paired`) with `p_adjusted, verdict, margin, margin_auto, more_runs` and notes.

    Holm over the rows; every look at Pocock's level for `looks` looks (0.0221 for three). `margin`: the
    smallest effect worth having, in the metric's units; None: 0.95 `sigma` (default: the table's own
    residual σ), but no more than `large`, marked `margin_auto`. `wave_runs`: runs of one wave, by which "≈ N more runs" is counted
    (default: pairs of runs); `total_runs`: runs so far (default: the largest `runs`, for pairs each row's
    own). `more_runs` is missing where the verdict stands, and where no feasible number of runs would
    decide; the forecast takes the present estimate for the truth. Raises InputError for a margin that is not positive or a look beyond the plan.
    """
    if not 1 <= look <= looks:
        raise InputError(f"look {look} of {looks} was not planned")
    if margin is not None and not (np.isfinite(margin) and margin > 0):
        raise InputError(f"the margin must be a positive number, not {margin}")
    level = nominal_level(looks)
    table = table.copy()
    effect, se, df = (table[name].to_numpy(dtype=float) for name in ("effect", "se", "df"))
    scale = table["sigma"].to_numpy(dtype=float) if sigma is None else np.full(len(table), sigma)
    if margin is not None:
        margins = np.full(len(table), margin)
    else:
        margins = np.fmin(MARGIN_IN_SIGMA * scale, large or np.inf)
    code, adjusted = decide(effect, se, df, margins, level)
    # Nothing varied and nothing differed (a placebo on equal seeds): zero, exactly.
    exact = (effect == 0) & (se == 0)
    code[exact] = 0
    family = max(1, int((code[np.isfinite(adjusted)] % 2 == 0).sum()))
    unit = wave_runs or 2
    budget = None if looks == 1 else (looks - look) * unit
    half = half_width(se, df, 0.95)
    more: list[int | None] = []
    notes = []
    for i, row in enumerate(lines(table)):
        runs = total_runs or (int(table["runs"].max()) if wave_runs else row["runs"])
        needed = None
        if code[i] == 2:
            needed = _more_runs(effect[i], se[i], df[i], margins[i], level, family, runs, unit)
            note = _forecast(needed, budget, wave_runs) if np.isfinite(effect[i]) else ""
        else:
            note = _size(int(code[i]), abs(effect[i]), half[i], margins[i])
        more.append(needed)
        notes.append("; ".join(text for text in (note, row.get("note", "")) if text))
    table["p_adjusted"] = np.where(exact, 1.0, adjusted)
    table["verdict"] = [
        word(int(value), size, least) for value, size, least in zip(code, effect, margins, strict=True)
    ]
    table["margin"] = margins
    table["margin_auto"] = margin is None
    table["more_runs"] = pd.array(more, dtype="Int64")
    table["note"] = notes
    return table


def largest_margin(values: pd.Series, direction: str) -> float | None:
    """What is commonly called large among `values` of a metric, which an automatic margin does not exceed; None where it is zero or there are none.

    More is better and all lie between 0 and 1: they are taken for shares.
    """
    finite = pd.to_numeric(values, errors="coerce").replace([np.inf, -np.inf], np.nan).dropna()
    if finite.empty:
        return None
    share = direction == "higher" and bool(finite.between(0, 1).all())
    return large_effect(float(finite.median()), share=share) or None


def decided(table: pd.DataFrame) -> bool:
    """Whether no further wave is needed: every trick but the placebo has its verdict.

    Looks at the average estimand where the table (a ranking table) has several.
    """
    rows = table[table["trick"] != PLACEBO]
    if "estimand" in rows.columns:
        rows = rows[rows["estimand"] == AVERAGE]
    return not bool((rows["verdict"] == "undecided").any())


def _more_runs(
    effect: float, se: float, df: float, margin: float, level: float, family: int, runs: int, unit: int
) -> int | None:
    """The smallest whole number of waves after which the present estimate would be decided, in runs."""
    if not (np.isfinite(effect) and se > 0 and df >= 1):
        return None
    waves = np.arange(1, _FURTHEST + 1)
    later_se = np.asarray(se * np.sqrt(runs / (runs + waves * unit)), dtype=np.float64)
    later_df = np.asarray(df + waves * unit, dtype=np.float64)
    sign = two_sided(np.full(len(waves), effect), later_se, later_df) <= level / family
    small = equivalence(np.full(len(waves), effect), later_se, later_df, margin) <= smallness_level(level)
    enough = np.flatnonzero(sign | small)
    return int(waves[enough[0]] * unit) if len(enough) else None


def _forecast(needed: int | None, budget: int | None, wave_runs: int | None) -> str:
    """The number of runs that would decide; `budget` None: not limited by a plan of looks."""
    if needed is None:
        return NOT_DECIDABLE
    waves = f" ({needed // wave_runs} wave{'s' if needed > wave_runs else ''})" if wave_runs else ""
    more = f"≈ {needed} more runs{waves}"
    return more if budget is None or needed <= budget else f"{NOT_DECIDABLE}: {more}"


def _size(code: int, effect: float, half: float, margin: float) -> str:
    """The relation of a certain effect to the margin."""
    if code and effect - half >= margin:
        return "by at least the margin"
    if code and effect + half <= margin:
        return "by less than the margin"
    return ""
