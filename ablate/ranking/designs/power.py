"""Power of a design, before any run is trained."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from ablate.ranking.designs.design import Design
from ablate.ranking.estimation.coding import effect_columns, nuisance_columns
from ablate.ranking.estimation.least_squares import Matrix
from ablate.ranking.verdicts.sequential import nominal_level


def design_power(design: Design, effect: float, *, waves: int = 1, looks: int = 3) -> pd.DataFrame:
    """`trick, level, standard_error, power` for a true effect of `effect` σ after `waves` waves of `design`.

    Computed from the design matrix, so that the cost of slots with several levels and of conditional tricks (which
    act in half the runs) shows. Standard errors are in σ. Power is that of Holm's hardest step at Pocock's level for
    `looks` looks, judged at the last look alone: a lower bound.
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
    """P(T > critical) of the noncentral t. The other tail has the wrong sign and does not count as a detection."""
    return np.asarray(stats.nct.sf(critical, df, np.minimum(shift, critical + 20.0)), dtype=np.float64)
