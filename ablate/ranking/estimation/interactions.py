"""Tricks that may act together: two-factor interactions, and averages that disagree with drop-one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ablate.ranking.designs.design import Factor
from ablate.ranking.estimation.coding import by_level, lines, nuisance_columns
from ablate.ranking.estimation.effects import Effects
from ablate.ranking.estimation.least_squares import Matrix
from ablate.ranking.verdicts.sequential import holm

_SLICE, _MOST_COMPARED = 8192, 20_000
COLUMNS = ["one", "other", "effect", "low", "high", "p", "p_adjusted", "flagged", "confounded_with"]


def interactions(fitted: Effects, frame: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """Every pair of tricks, each added alone to the main-effects fit; strongest first.

    `effect`: how much more the first helps where the second is on (a difference of differences).
    `flagged`: Holm over all pairs ≤ 0.05. A screening array measures sums of interactions, so a flag
    is a *possible* interaction: `confounded_with` names the pairs that fit just as well.
    """
    used = fitted.used
    pairs = [
        pair
        for pair in combinations(range(len(fitted.terms)), 2)
        if _separate(fitted.terms[pair[0]].factor, fitted.terms[pair[1]].factor, fitted.factors)
    ]
    if not pairs or fitted.df < 2:
        return pd.DataFrame(columns=COLUMNS)
    main = fitted.columns[used]
    base = np.concatenate([main, nuisance_columns(frame)[used]], axis=1)
    centred = main - 0.5 * (main.max(axis=0) + main.min(axis=0))
    residuals = fitted.residuals[used]
    gram, norm, against = _products(centred, pairs, base, residuals)
    estimable = norm > 1e-9 * len(main)
    safe = np.where(estimable, norm, 1.0)
    effect = np.where(estimable, against / safe, np.nan)
    df = fitted.df - 1
    left = np.maximum(np.square(residuals).sum() - np.square(np.nan_to_num(effect)) * norm, 0)
    se = np.sqrt(left / df / safe)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(effect) / np.where(se > 0, se, np.nan), df)
    half = float(stats.t.ppf((1 + confidence) / 2, df)) * se
    adjusted = holm(p)
    size = np.where(estimable, np.diag(gram), 1.0)
    same = (np.abs(gram) > 0.95 * np.sqrt(np.outer(size, size))) & estimable[:, None] & estimable[None, :]
    label = [f"{fitted.terms[i].label} × {fitted.terms[j].label}" for i, j in pairs]
    table = pd.DataFrame(
        {
            "one": [fitted.terms[i].label for i, _ in pairs],
            "other": [fitted.terms[j].label for _, j in pairs],
            "effect": effect,
            "low": effect - half,
            "high": effect + half,
            "p": p,
            "p_adjusted": adjusted,
            "flagged": adjusted <= 0.05,
            "confounded_with": [
                ", ".join(label[b] for b in np.flatnonzero(same[a]) if b != a) for a in range(len(pairs))
            ],
        }
    )
    return table.sort_values(["p", "one", "other"], ignore_index=True)


def _products(
    columns: Matrix, pairs: Sequence[tuple[int, int]], base: Matrix, residuals: Matrix
) -> tuple[Matrix, Matrix, Matrix]:
    """The products of `pairs` of columns [n, p], cleared of the columns of `base` [n, b]: their inner products [q, q], their
    squared norms [q], and their inner products with the residuals [q].

    Summed over slices of the runs, so that memory does not grow with runs times pairs. Which pairs coincide is a matter
    of the design: where there are many runs, the inner products are those of an even sample of them.
    """
    u, singular, _ = np.linalg.svd(base, full_matrices=False)
    basis = u[:, : int((singular > singular[0] * max(base.shape) * np.finfo(float).eps).sum())]
    first, second = np.array(pairs).T
    norm, against = np.zeros(len(pairs)), np.zeros(len(pairs))
    explained = np.zeros((basis.shape[1], len(pairs)))
    for start in range(0, len(columns), _SLICE):
        part = slice(start, start + _SLICE)
        rows = np.ascontiguousarray(columns[part].T)
        products = rows[first] * rows[second]
        norm += np.einsum("qn,qn->q", products, products)
        against += products @ residuals[part]  # which are orthogonal to the base already
        explained += (products @ basis[part]).T
    some = slice(None, None, max(1, -(-len(columns) // _MOST_COMPARED)))
    sample = columns[some][:, first] * columns[some][:, second] - basis[some] @ explained
    return sample.T @ sample, norm - np.square(explained).sum(axis=0), against


def note_interacts(average: pd.DataFrame, single: pd.DataFrame) -> pd.DataFrame:
    """`single` (drop-one or add-one) with "interacts" noted where its sign contradicts the average's.

    Only where the difference of the two is more than noise (its 95 % interval, Welch, excludes zero):
    two estimates around zero differ in sign half of the time.
    """
    single = single.copy()
    averages = by_level(average)
    notes = []
    for row in lines(single):
        note = str(row["note"])
        other = averages.get((row["trick"], row["level"]))
        if other is not None and row["effect"] * other["effect"] < 0 and _differs(row, other):
            note = "; ".join(["interacts: the average has the other sign", *([note] if note else [])])
        notes.append(note)
    single["note"] = notes
    return single


def _differs(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two estimates differ by more than their noise (Welch, 95 %)."""
    mine, its = one["se"] ** 2, other["se"] ** 2
    if not mine + its > 0:
        return False
    df = (mine + its) ** 2 / (mine**2 / max(one["df"], 1) + its**2 / max(other["df"], 1))
    half = float(stats.t.ppf(0.975, df)) * float(np.sqrt(mine + its))
    return bool(abs(one["effect"] - other["effect"]) > half)


def _separate(one: str, other: str, factors: tuple[Factor, ...]) -> bool:
    """Whether a product of the two means anything: not two levels of a slot, not parent and child."""
    parents = {factor.name: factor.parent for factor in factors}
    return one != other and parents[one] != other and parents[other] != one
