"""From level labels to columns of numbers, in one place for designs and for finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.ranking.designs.design import Factor
from ablate.records.errors import InputError, unknown

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Term:
    """One effect: `factor` at `level` against its reference level."""

    factor: str
    level: str
    two_level: bool = True

    @property
    def label(self) -> str:
        """The factor, with its level unless it has two."""
        return self.factor if self.two_level else f"{self.factor}={self.level}"


def lines(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain dicts."""
    return cast(list[dict[str, Any]], table.to_dict("records"))


def by_level(table: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """(trick, level) -> its row of an effect table."""
    return {(row["trick"], row["level"]): row for row in lines(table)}


def require(frame: pd.DataFrame, names: Sequence[str], kind: str = "column") -> None:
    """Raise InputError for the first of `names` that is not a column of `frame`."""
    for name in names:
        if name not in frame.columns:
            raise unknown(kind, name, [str(column) for column in frame.columns])


def check_levels(frame: pd.DataFrame, factors: Sequence[Factor]) -> None:
    """Raise InputError if a factor's column is missing or holds a label that is not one of its levels.

    A missing label is legal: the factor has no meaning in that run (a setting of something that is off).
    """
    require(frame, [factor.name for factor in factors])
    for factor in factors:
        for value in pd.unique(frame[factor.name].dropna()):
            if value not in factor.levels:
                raise unknown(f"level in column '{factor.name}'", str(value), factor.levels)


def coded(frame: pd.DataFrame, factors: Sequence[Factor]) -> pd.DataFrame:
    """`frame` with the labels of each factor as a categorical column: comparing 200,000 of them takes a twentieth of the time of text.

    Raises InputError as `check_levels` does.
    """
    check_levels(frame, factors)
    columns = {
        factor.name: pd.Categorical(frame[factor.name], categories=list(factor.levels)) for factor in factors
    }
    return frame.assign(**columns)


def at_level(frame: pd.DataFrame, factor: Factor, level: str) -> NDArray[np.bool_]:
    """Rows [n] in which `factor` is at `level`."""
    column = frame[factor.name]
    if isinstance(column.dtype, pd.CategoricalDtype):
        return (column == level).to_numpy()
    return np.asarray(column.to_numpy() == level, dtype=bool)


def is_active(frame: pd.DataFrame, factor: Factor, factors: Sequence[Factor]) -> NDArray[np.bool_]:
    """Rows [n] in which `factor` can act: it has a label, and all its parents are away from their reference."""
    by_name = {other.name: other for other in factors}
    active = frame[factor.name].notna().to_numpy(copy=True)
    parent = factor.parent
    while parent is not None:
        if parent not in by_name:
            raise InputError(f"'{factor.name}' is conditional on '{parent}', which is not among the factors")
        above = by_name[parent]
        active &= ~at_level(frame, above, above.levels[0])
        parent = above.parent
    return active


def effect_columns(
    frame: pd.DataFrame, factors: Sequence[Factor], slopes: Mapping[str, Matrix] | None = None
) -> tuple[list[Term], Matrix]:
    """Terms and columns [n, p] whose coefficients are differences from the reference level.

    Treatment coding. A conditional factor's column is centred where it can act and zero elsewhere, so that
    its coefficient is the effect given the parent, and the parent's own averages over the child.
    `slopes`: factor -> column [n] of standardised numbers that stands for its two levels.
    """
    terms: list[Term] = []
    columns: list[Matrix] = []
    for factor in factors:
        if slopes and factor.name in slopes:
            terms.append(Term(factor.name, factor.levels[1]))
            columns.append(slopes[factor.name])
            continue
        active = is_active(frame, factor, factors)
        centre = 0.0 if factor.parent is None and active.all() else 1 / len(factor.levels)
        for level in factor.levels[1:]:
            terms.append(Term(factor.name, level, len(factor.levels) == 2))
            columns.append(np.asarray((at_level(frame, factor, level) - centre) * active, dtype=float))
    return terms, np.array(columns, dtype=float).reshape(len(columns), len(frame)).T


def nuisance_columns(frame: pd.DataFrame) -> Matrix:
    """A constant and one 0/1 column for every block but the first: [n, blocks]."""
    columns = [np.ones(len(frame))]
    if "block" in frame.columns:
        blocks = frame["block"].to_numpy()
        columns += [(blocks == block).astype(float) for block in sorted(pd.unique(blocks))[1:]]
    return np.array(columns).T
