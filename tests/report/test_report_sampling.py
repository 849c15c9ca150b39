"""A page of many trials: its figures draw some of them, say so, and keep their size."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ablate.report.numbers import Units
from ablate.report.plots import sampling
from ablate.report.plots.parallel import Axis, parallel
from ablate.report.plots.picture import Picture
from ablate.report.plots.sampling import drawn, drawn_note
from ablate.report.plots.search import history
from ablate.report.plots.slices import slices
from ablate.report.slices import Slice

MOST = 30


@pytest.fixture
def few_drawn(monkeypatch):
    monkeypatch.setattr(sampling, "MOST_DRAWN", MOST)
    monkeypatch.setattr("ablate.report.plots.slices.MOST_DRAWN", MOST)


def test_all_are_drawn_where_there_are_few(few_drawn):
    scores = np.array([np.nan, *np.arange(MOST - 1.0)])
    assert drawn(scores, higher=True).tolist() == list(range(MOST))
    assert drawn_note(MOST, MOST) == ""


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("total", [MOST + 1, 10 * MOST, 997])
def test_the_best_are_drawn_and_the_others_are_spaced(few_drawn, higher, total):
    scores = np.random.default_rng(total).permutation(total).astype(float)
    scores[5] = np.nan
    shown = drawn(scores, higher=higher)
    assert len(shown) == len(set(shown.tolist())) == MOST
    assert shown.tolist() == sorted(shown.tolist())
    ranks = np.argsort(-scores if higher else scores)
    assert set(ranks[: MOST // sampling.BEST_SHARE].tolist()) <= set(shown.tolist())
    assert np.diff(shown).max() <= 2 * -(-total // (MOST - MOST // sampling.BEST_SHARE))


def pictures(total: int) -> list[Picture]:
    """History, parallel coordinates and slices of `total` trials, one in five of them without a value."""
    draw = np.random.default_rng(1)
    scores = 0.9 + 0.05 * draw.random(total)
    trials = pd.DataFrame({"trial": range(total), "outcome": "complete", "validation/accuracy": scores})
    trials.loc[::5, ["outcome", "validation/accuracy"]] = ["diverged", float("nan")]
    rates = tuple(draw.random(total).tolist())
    units = Units.of("validation/accuracy", None)
    axes = [Axis(name, 0.0, 1.0, False, rates) for name in ("dropout.p", "mixup.alpha")]
    panel = Slice("dropout.p", 0.0, 1.0, False, rates, tuple(scores.tolist()), 0.5, "")
    return [
        history(trials, "validation/accuracy", units, higher=True),
        parallel(axes, range(total), scores.tolist(), "validation/accuracy", units, higher=True),
        slices([panel], "validation/accuracy", units, higher=True),
    ]


def test_figures_of_many_trials_draw_a_bounded_number(few_drawn):
    for small, large in zip(pictures(MOST), pictures(8 * MOST), strict=True):
        assert "Drawn are" not in small.caption
        assert large.caption.endswith(" Drawn are 30 of 240 trials: the best 3 and others evenly spaced.")
        assert len(large.svg) < 1.3 * len(small.svg), large.name
