"""The committed gold runs are whole, and races drawn from them hold the gold values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablate.study.ranking.tuning_points import DENSE, lattice
from bench.statistics import gold_studies
from bench.statistics.gold import REFERENCE, RESULTS, TASKS
from bench.statistics.sections import put

GOLD = [task for task in TASKS if (RESULTS / f"gold-{task}.csv").is_file()]


@pytest.mark.parametrize("task", GOLD)
def test_every_trick_has_two_hundred_pairs(task: str) -> None:
    scores = gold_studies.gold_of(task)
    assert {*TASKS[task].tricks, REFERENCE} <= set(scores)
    assert len(scores) >= 200
    assert not scores.isna().any().any()


@pytest.mark.parametrize("task", GOLD)
def test_the_best_points_are_inside_the_grid(task: str) -> None:
    points = pd.read_csv(RESULTS / f"gold-{task}-rates.csv")
    best = pd.read_csv(RESULTS / f"gold-{task}.csv").groupby("arm")["rate"].first()
    for arm, points_of_arm in points[points["step"] == "grid"].groupby("arm"):
        assert points_of_arm["rate"].min() < best[arm] < points_of_arm["rate"].max()
        assert points_of_arm["rate"].nunique() >= 2 * len(DENSE) + 1


@pytest.mark.parametrize("task", GOLD)
def test_races_on_gold_runs_hold_the_gold_values(task: str) -> None:
    outcome, truth = gold_studies.resampled(task, 200, 3, placebos=False)
    assert np.mean(np.abs(outcome.effect - truth) <= outcome.half) > 0.92
    placebos, _ = gold_studies.resampled(task, 200, 3, placebos=True)
    assert np.mean((np.abs(placebos.code) == 1).any(axis=1)) < 0.12


def test_the_dense_grid_holds_the_rates_that_studies_try() -> None:
    assert [lattice(0.05, place) for place in range(-3, 4)] == [0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15]


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "x.md"
    put("one", ["a"], path)
    put("two", ["b"], path)
    put("one", ["c", "d"], path)
    text = path.read_text()
    assert "a\n" not in text
    assert text.index("c\nd") < text.index("\nb\n")
    assert text.count("begin") == 2
