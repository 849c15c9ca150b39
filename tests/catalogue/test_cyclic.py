"""Cyclical rates against torch's CyclicLR and against the paper's formula."""

from __future__ import annotations

import math

import pytest
import torch
from schedule_cases import factors, random_settings
from sweep import sweep


def paper(t: int, cycle: int, floor: float, shape: str) -> float:
    """Section 3.1 of 1506.01186, with `stepsize` half a cycle."""
    half = cycle / 2
    number = math.floor(1 + t / (2 * half))
    x = abs(t / half - 2 * number + 1)
    scale = {"triangular": 1.0, "triangular2": 0.5 ** (number - 1), "exp_range": 0.5 ** (t / half)}[shape]
    return floor + (1 - floor) * max(0.0, 1 - x) * scale


@sweep("seed", range(5))
def test_equals_the_paper(seed: int) -> None:
    lanes = random_settings("cyclic", 20, seed)
    curves = factors("cyclic", lanes, 90, 3 + seed)
    for lane, lane_settings in enumerate(lanes):
        expected = [
            paper(t, lane_settings["cycle"] * (3 + seed), lane_settings["floor"], lane_settings["shape"])
            for t in range(90)
        ]
        torch.testing.assert_close(curves[:, lane], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("mode", ["triangular", "triangular2"])
def test_equals_torchs_scheduler(mode: str) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.CyclicLR(optimizer, 0.2, 1.0, 10, mode=mode, cycle_momentum=False)
    curves = factors("cyclic", [{"shape": mode, "cycle": 4, "floor": 0.2}], 60, 5)
    for value in curves.flatten().tolist():
        assert value == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
