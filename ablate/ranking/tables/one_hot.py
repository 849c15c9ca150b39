"""Dummy columns (`pandas.get_dummies`) read back as the one choice that they encode."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ablate.ranking.designs.design import RESERVED
from ablate.ranking.tables.cells import labels

_TRUE = ("True", "1")
_SEPARATOR = re.compile(r"(.+?)[_=./:\s-]+([^_=./:]+)")


def merge_dummies(frame: pd.DataFrame, factors: Sequence[str]) -> tuple[pd.DataFrame, list[str], list[str]]:
    """`frame` and `factors` with complete sets of dummy columns as one factor of several levels each, and notes.

    A set: two or more factors with a common prefix (`optimizer_adam`, `optimizer_sgd`) of which exactly one is
    true in every run. Apart, they would be collinear and no effect could be estimated; dummies of which the reference
    was dropped stay as they are.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for name in factors:
        if match := _SEPARATOR.fullmatch(name):
            groups.setdefault(match[1], []).append((name, match[2]))
    chosen, notes = list(factors), []
    for prefix, members in groups.items():
        if len(members) < 2 or prefix in frame.columns or prefix in RESERVED:
            continue
        columns = [labels(frame[name]) for name, _ in members]
        if not all(set(column.dropna()) <= {"True", "False", "0", "1"} for column in columns):
            continue
        true = np.array([column.isin(_TRUE).to_numpy() for column in columns])
        if any(column.isna().any() for column in columns) or not (true.sum(axis=0) == 1).all():
            continue
        levels = np.array([level for _, level in members], dtype=object)
        frame = frame.assign(**{prefix: levels[true.argmax(axis=0)]})
        names = [name for name, _ in members]
        position = chosen.index(names[0])
        chosen = [name for name in chosen if name not in names]
        chosen.insert(position, prefix)
        notes.append(
            f"exactly one of {', '.join(names)} is true in every run: read as the levels of '{prefix}'"
        )
    return frame, chosen, notes
