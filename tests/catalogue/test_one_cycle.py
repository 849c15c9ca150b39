"""The one-cycle schedule against torch's OneCycleLR."""

from __future__ import annotations

import pytest
import torch
from schedule_cases import factors, random_settings
from sweep import sweep


@sweep("seed", range(5))
def test_equals_torchs_scheduler(seed: int) -> None:
    lanes, total = random_settings("one_cycle", 20, seed), 37 + 11 * seed
    curves = factors("one_cycle", lanes, total, 7)
    for lane, lane_settings in enumerate(lanes):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            1.0,
            total,
            pct_start=lane_settings["rise"],
            div_factor=lane_settings["start"],
            cycle_momentum=False,
        )
        for step, value in enumerate(curves[:, lane].tolist()):
            assert value == pytest.approx(schedule.get_last_lr()[0]), step
            optimizer.step()
            if step < total - 1:
                schedule.step()


def test_it_rises_to_one_and_falls_far_below_its_start() -> None:
    curve = factors("one_cycle", [{"rise": 0.26, "start": 20.0}], 100, 10).flatten()
    assert curve[0] == pytest.approx(1 / 20)
    assert curve[25] == pytest.approx(1.0)
    assert curve[99] == pytest.approx(1 / 20 / 1e4)
    assert bool((curve[:26].diff() > 0).all())
    assert bool((curve[25:].diff() < 0).all())
