"""The one-cycle schedule against torch's OneCycleLR."""

from __future__ import annotations

import pytest
import torch
from schedule_cases import factors, random_settings
from sweep import sweep


@sweep("seed", range(5))
def test_equals_torchs_scheduler(seed: int) -> None:
    lanes, total = random_settings("one_cycle", 20, seed), 37 + 11 * seed
    found = factors("one_cycle", lanes, total, 7)
    for lane, own in enumerate(lanes):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 1.0, total, pct_start=own["rise"], div_factor=own["start"], cycle_momentum=False
        )
        for step, value in enumerate(found[:, lane].tolist()):
            assert value == pytest.approx(schedule.get_last_lr()[0]), step
            optimizer.step()
            if step < total - 1:
                schedule.step()


def test_it_rises_to_one_and_falls_far_below_its_start() -> None:
    found = factors("one_cycle", [{"rise": 0.26, "start": 20.0}], 100, 10).flatten()
    assert found[0] == pytest.approx(1 / 20)
    assert found[25] == pytest.approx(1.0)
    assert found[99] == pytest.approx(1 / 20 / 1e4)
    assert bool((found[:26].diff() > 0).all())
    assert bool((found[25:].diff() < 0).all())
