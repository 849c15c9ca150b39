"""What a design can find: power and the number of runs, before a single one is made."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from ablate.ranking.designs.design import Design
from ablate.ranking.estimation.coding import effect_columns, nuisance_columns
from ablate.ranking.estimation.least_squares import Matrix
from ablate.ranking.verdicts.sequential import nominal_level
from ablate.records.errors import InputError

_MOST_RUNS = 100_000


def power(
    effect: float, runs: int, k: int, *, looks: int = 1, alpha: float | None = None, blocks: int = 2
) -> float:
    """Chance that one trick of true size `effect` (in σ of one run) is told from nothing among `k` tricks.

    Balanced two-level array of `runs`, noncentral t with runs - k - blocks degrees of freedom, tested at
    Holm's hardest step, `alpha` / k: a lower bound, since every trick already decided makes it easier.
    `alpha` None: Pocock's level for `looks` looks, judged at the last look alone (again a lower bound).
    """
    df = runs - k - blocks
    if df < 1 or k < 1:
        return 0.0
    level = (nominal_level(looks) if alpha is None else alpha) / k
    critical = float(stats.t.ppf(1 - level / 2, df))
    return float(_beyond(critical, df, np.array(abs(effect) * np.sqrt(runs) / 2)))


def runs_needed(
    effect: float, k: int, *, target: float = 0.8, looks: int = 1, alpha: float | None = None, blocks: int = 2
) -> int:
    """The smallest even number of runs with `power` ≥ `target`. Raises InputError for an effect of nothing."""
    if not (np.isfinite(effect) and effect != 0):
        raise InputError(f"the effect to find must be a number other than 0, not {effect}")
    if not 0 < target < 1:
        raise InputError(f"power must lie between 0 and 1, not {target}")
    low, high = 0, (k + blocks + 2) // 2
    while power(effect, 2 * high, k, looks=looks, alpha=alpha, blocks=blocks) < target:
        low, high = high, 2 * high
        if 2 * high > _MOST_RUNS:
            raise InputError(f"an effect of {effect} σ needs more than {_MOST_RUNS} runs")
    while high - low > 1:
        middle = (low + high) // 2
        if power(effect, 2 * middle, k, looks=looks, alpha=alpha, blocks=blocks) >= target:
            high = middle
        else:
            low = middle
    return 2 * high


def design_power(design: Design, effect: float, *, waves: int = 1, looks: int = 3) -> pd.DataFrame:
    """`trick, level, standard_error, power` for a true effect of `effect` σ after `waves` waves like `design`.

    From the design matrix itself, so that slots of several levels and conditional tricks (half the runs)
    show what they cost. Standard errors in σ.
    """
    frame = design.frame()
    varied = [factor for factor in design.factors if frame[factor.name].nunique() > 1]
    terms, columns = effect_columns(frame, varied)
    everything = np.concatenate([columns, nuisance_columns(frame)], axis=1)
    information = np.linalg.pinv(everything.T @ everything)
    errors = np.sqrt(np.diag(information)[: len(terms)] / waves)
    blocks = waves * (everything.shape[1] - len(terms))
    df = waves * len(frame) - len(terms) - blocks
    critical = float(stats.t.ppf(1 - nominal_level(looks) / len(terms) / 2, df)) if df >= 1 else np.inf
    chance = _beyond(critical, df, abs(effect) / errors) if df >= 1 else np.zeros(len(terms))
    return pd.DataFrame(
        {
            "trick": [term.factor for term in terms],
            "level": [term.level for term in terms],
            "standard_error": errors,
            "power": chance,
        }
    )


def _beyond(critical: float, df: float, shift: Matrix) -> Matrix:
    """P(T > critical) of the noncentral t. The other tail, a wrong sign, is no success and not counted."""
    return np.asarray(stats.nct.sf(critical, df, np.minimum(shift, critical + 20.0)), dtype=np.float64)
