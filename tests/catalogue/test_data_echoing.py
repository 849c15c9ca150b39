"""Data echoing: each example, or each batch, comes up as often as asked before a fresh one does."""

from __future__ import annotations

import pytest
import torch

from ablate.catalogue.data.data_echoing import position
from ablate.catalogue.registry import registry
from ablate.lanes.trainer import Trainer
from ablate.seams.settings import Settings
from ablate.testing import suite


def by_hand(count: int, batch: int, factor: int, unit: str) -> list[int]:
    """Repeat every item `factor` times, then cut to the length of the epoch."""
    if unit == "example":
        return [place for place in range(count) for _ in range(factor)][:count]
    batches = [list(range(start, start + batch)) for start in range(0, count, batch)]
    return [place for own in batches for _ in range(factor) for place in own][:count]


@pytest.mark.parametrize("seed", range(5))
def test_places_are_repeated(seed: int) -> None:
    batch, steps = 2 + seed, 7 + seed
    lanes = [{"factor": f, "unit": unit} for f in range(1, 11) for unit in ("batch", "example")]
    p = Settings.stack(registry()["data_echoing"], lanes, torch.device("cpu"))
    found = position(torch.arange(batch * steps), batch, p)
    for lane, own in enumerate(lanes):
        assert found[lane].tolist() == by_hand(batch * steps, batch, own["factor"], own["unit"])


def test_the_engine_trains_on_the_repeated_batches() -> None:
    checks = suite()
    context = checks.contexts["table"]
    runs = [checks.run(context, tricks, 3) for tricks in ({"data_echoing": {"factor": 2}}, {})]
    trainer = Trainer(context, runs)
    seen = []
    for _ in range(trainer.order.steps_per_epoch):
        seen.append(trainer.index())
        trainer.step()
    echoed, plain = torch.stack(seen).unbind(1)
    assert torch.equal(echoed[::2], echoed[1::2])
    assert torch.equal(echoed[::2], plain[: len(plain) // 2])
    assert len(plain.unique()) == plain.numel()
