"""Warmup against a straight line in exact fractions; it multiplies whatever schedule is on."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
import torch
from sweep import sweep
from torch import Tensor

from ablate.catalogue.registry import registry
from ablate.catalogue.schedule.warmup import factor
from ablate.lanes.group import Group
from ablate.lanes.update import schedule_factor
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.seams.settings import Settings

CPU = torch.device("cpu")


def settings(*shares: float | None, dtype: torch.dtype = torch.float64) -> Settings:
    lanes = [None if share is None else {"share": share} for share in shares]
    return Settings.stack(registry()["warmup"], lanes, CPU, dtype)


def curve(p: Settings, total: int) -> Tensor:
    """Factors `[K, total]`."""
    lanes = len(p.on)
    return torch.stack([factor(torch.full((lanes,), t), total, 1, p) for t in range(total)], dim=1)


@sweep("seed", range(20))
def test_is_the_line_from_zero_to_one_and_then_one(seed: int) -> None:
    rng = random.Random(seed)
    shares, total = [rng.uniform(0, 0.2) for _ in range(6)], rng.randint(1, 400)
    factors = curve(settings(*shares), total)
    for lane, share in enumerate(shares):
        length = Fraction(share) * total
        for t in range(total):
            expected = float((t + 1) / length) if t + 1 < length else 1.0
            assert factors[lane, t].item() == pytest.approx(expected, rel=1e-14)


def test_last_step_of_the_warmup_has_the_full_rate_and_no_step_has_none() -> None:
    factors = curve(settings(0.1), 50)[0]
    torch.testing.assert_close(factors[:5], torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0], dtype=torch.float64))
    assert (factors[4:] == 1).all()


def test_neutral_and_absent_lanes_have_a_factor_of_exactly_one() -> None:
    assert (curve(settings(0.0, None), 30) == 1).all()


def test_a_lane_has_the_same_bits_alone_and_in_a_group() -> None:
    rng = random.Random(1)
    shares = [rng.uniform(0, 0.2) for _ in range(19)]
    together = curve(settings(*shares, dtype=torch.float32), 57)
    alone = torch.cat([curve(settings(share, dtype=torch.float32), 57) for share in shares])
    assert torch.equal(together, alone)


def test_multiplies_the_schedule_that_is_on() -> None:
    tricks = [
        {"warmup": {"share": 0.2}},
        {"cosine_restarts": {"cycle": 4}},
        {"warmup": {"share": 0.2}, "cosine_restarts": {"cycle": 4}},
        {},
    ]
    runs = [Run("t", Recipe.of(registry(), {"momentum": True, **trick}), 0, 10) for trick in tricks]
    group = Group(runs, registry(), CPU)
    for t in range(100):
        warm, cosine, both, none = schedule_factor(group, torch.full((4,), t), 100, 10).tolist()
        assert both == pytest.approx(warm * cosine, rel=1e-6)
        assert none == 1
