"""Strategies for entries and documents as strange as the ledger promises to keep."""

from __future__ import annotations

from hypothesis import strategies as st

from ablate.ledger.entry import Entry
from ablate.records.recipe import Recipe
from ablate.records.run import Outcome, Result, Run

_floats = st.floats(width=64)
_names = st.text(max_size=12)
_small = st.integers(-(2**63), 2**63 - 1)
_series = st.lists(_floats, max_size=5).map(tuple)
settings_values = (
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
recipes = st.dictionaries(_names, st.dictionaries(_names, settings_values, max_size=3), max_size=3).map(
    Recipe
)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | _floats | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("$float ab", max_size=7), inner, max_size=3)
    ),
    max_leaves=8,
)
entries = st.builds(
    Entry,
    st.builds(Run, task=_names, recipe=recipes, seed=_small, epochs=_small),
    st.builds(
        Result,
        outcome=st.sampled_from(Outcome),
        metrics=st.dictionaries(_names, _floats, max_size=3),
        curves=st.dictionaries(_names, _series, max_size=3),
        scores=st.dictionaries(_names, _series, max_size=3),
        epochs=_small,
        seconds=_floats.map(lambda seconds: seconds + 0.0),
        note=st.text(max_size=20),
    ),
    stage=_names,
    wave=_small,
    trial=_small,
    arm=_names,
)
