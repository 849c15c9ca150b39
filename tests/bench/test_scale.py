"""`make scale` at a fraction of its size: what it measures still runs, and the session, ledger and commits hold what they are given."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import scale

ROOT = Path(__file__).parents[2]


def test_each_part_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert 0 < scale.efficiency(4, 0.05, 2, tmp_path / "workers") <= 1
    assert min(scale.throughput(300, 8, tmp_path / "driver")) > 0
    (tmp_path / "ledger").mkdir()
    scale.ledger_of(2000, tmp_path / "ledger", report=False)
    assert "2,000 runs" in capsys.readouterr().out


def test_make_scale_has_every_part():
    target = (ROOT / "Makefile").read_text().partition("\nscale:")[2].partition("\n\n")[0]
    assert re.findall(r"bench\.scale (\w+)", target) == ["workers", "driver", "ledger"]
