"""Step decay against torch's MultiStepLR."""

from __future__ import annotations

from math import ceil

import pytest
import torch
from schedule_cases import factors, random_settings
from sweep import sweep


@sweep("seed", range(5))
def test_equals_torchs_scheduler(seed: int) -> None:
    lanes, total = random_settings("step", 20, seed), 37 + 11 * seed
    curves = factors("step", lanes, total, 7)
    for lane, lane_settings in enumerate(lanes):
        parts = lane_settings["drops"] + 1
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        milestones = [ceil(total * number / parts) for number in range(1, parts)]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, lane_settings["gamma"])
        for value in curves[:, lane].tolist():
            assert value == pytest.approx(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
