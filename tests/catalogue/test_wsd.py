"""Warmup-stable-decay against its three phases, step by step."""

from __future__ import annotations

import pytest
import torch
from schedule_cases import factors, random_settings
from sweep import sweep


def phases(t: int, total: int, warmup: float, decay: float) -> float:
    if t + 1 < warmup * total:
        return (t + 1) / (warmup * total)
    left = total - t
    return left / (decay * total) if left < decay * total else 1.0


@sweep("seed", range(5))
def test_equals_its_phases(seed: int) -> None:
    lanes, total = random_settings("wsd", 20, seed), 40 + 13 * seed
    curves = factors("wsd", lanes, total, 7)
    for lane, lane_settings in enumerate(lanes):
        expected = [phases(t, total, lane_settings["warmup"], lane_settings["decay"]) for t in range(total)]
        torch.testing.assert_close(curves[:, lane], torch.tensor(expected, dtype=torch.float64))


def test_phases_of_no_length_and_phases_that_overlap() -> None:
    assert factors("wsd", [{"warmup": 0.0, "decay": 0.0}], 10, 5).eq(1).all()
    factors_of_steps = factors("wsd", [{"warmup": 1.0, "decay": 1.0}], 10, 5).flatten().tolist()
    assert factors_of_steps == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1])
