"""Promises of docs/reliability.md at a fraction of the counts of `make chaos`."""

from __future__ import annotations

import time
from math import inf
from pathlib import Path

import pytest

from bench.chaos import damage, parsers
from bench.chaos.promise import Check, Tally


@pytest.mark.parametrize(
    ("check", "count", "least"), [(damage.check, 1000, 2000), (parsers.check, 200, 1500)]
)
def test_a_fraction_of_the_checks(check: Check, count: int, least: int, tmp_path: Path):
    tally = Tally()
    check(tmp_path, count, 1, tally)
    assert tally.failed == []
    assert tally.count >= least


def test_a_promise_that_is_out_of_time_makes_no_further_check(tmp_path: Path):
    tally = Tally(ends=-inf)
    damage.check(tmp_path, 1000, 1, tally)
    parsers.check(tmp_path, 1000, 1, tally)
    assert tally.count == 0


def test_what_fails_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(path: Path) -> None:
        raise KeyError(path.name)

    monkeypatch.setattr(parsers, "parsers", lambda: {"study file": (b"x = 1", fails)})
    tally = Tally(ends=time.monotonic() + 600)
    parsers.check(tmp_path, 10, 0, tally)
    assert len(tally.failed) == tally.count >= 5
