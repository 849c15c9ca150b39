"""Aliases: the effects that a design cannot separate."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from ablate.ranking.designs.design import Design
from ablate.ranking.estimation.coding import Term, effect_columns, nuisance_columns


def alias_table(design: Design, *, threshold: float = 0.3) -> pd.DataFrame:
    """Pairs of effects whose columns, cleared of block means, correlate by at least `threshold`.

    Columns: `effect`, `other`, `correlation`, `orders` ("main/main", "main/two-factor",
    "two-factor/two-factor"). At `threshold` 0.999 only what is wholly confounded. Sorted, reproducible.
    """
    frame = design.frame()
    varied = [factor for factor in design.factors if frame[factor.name].nunique() > 1]
    terms, columns = effect_columns(frame, varied)
    nuisance = nuisance_columns(frame)
    main = columns - nuisance @ np.linalg.lstsq(nuisance, columns, rcond=None)[0]
    pairs = [pair for pair in combinations(range(len(terms)), 2) if _crossed(terms[pair[0]], terms[pair[1]])]
    # Products of centred columns: with 0/1 columns a product would contain the main effects themselves.
    products = np.array([main[:, i] * main[:, j] for i, j in pairs]).reshape(len(pairs), len(frame)).T
    if pairs:
        products = products - nuisance @ np.linalg.lstsq(nuisance, products, rcond=None)[0]
    names = [term.label for term in terms] + [f"{terms[i].label}:{terms[j].label}" for i, j in pairs]
    everything = np.concatenate([main, products], axis=1)
    norm = np.linalg.norm(everything, axis=0)
    flat = norm < 1e-9
    unit = everything / np.where(flat, 1.0, norm)
    correlation = unit.T @ unit
    first, second = np.nonzero(np.triu(np.abs(correlation) >= threshold - 1e-12, 1))
    orders = np.where(np.arange(len(names)) < len(terms), "main", "two-factor")
    table = pd.DataFrame(
        {
            "effect": [names[i] for i in first],
            "other": [names[j] for j in second],
            "correlation": np.round(correlation[first, second], 6),
            "orders": [f"{orders[i]}/{orders[j]}" for i, j in zip(first, second, strict=True)],
        }
    )
    # two levels of one slot share their reference runs, which is not confounding
    of_one_slot = [
        j < len(terms) and terms[i].factor == terms[j].factor for i, j in zip(first, second, strict=True)
    ]
    return table[~np.array(of_one_slot, dtype=bool)].reset_index(drop=True)


def _crossed(one: Term, other: Term) -> bool:
    return one.factor != other.factor
