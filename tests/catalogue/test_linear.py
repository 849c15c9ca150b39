"""Linear decay against torch's LinearLR."""

from __future__ import annotations

import pytest
import torch
from schedule_cases import factors
from sweep import sweep


@sweep("total", range(1, 101))
def test_equals_torchs_scheduler(total: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total)
    for value in factors("linear", [{}], total, 7).flatten().tolist():
        assert value == pytest.approx(schedule.get_last_lr()[0], abs=1e-6)
        optimizer.step()
        schedule.step()
