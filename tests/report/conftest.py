"""One synthetic study and some hostile ones, written to real ledgers and built once for all tests."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
from report_payloads import PAYLOADS
from report_synthetic import Synthetic

from ablate.ledger.store import Ledger
from ablate.report.build import build
from ablate.report.collect import collect


@pytest.fixture(scope="session")
def study() -> Synthetic:
    return Synthetic(trials=40)


@pytest.fixture(scope="session")
def ledger(study, tmp_path_factory) -> Path:
    return study.write(tmp_path_factory.mktemp("studies") / "digits.db")


@pytest.fixture(scope="session")
def report(ledger, tmp_path_factory) -> Path:
    """The folder of the built report."""
    return build(ledger, tmp_path_factory.mktemp("reports") / "digits").parent


@pytest.fixture(scope="session")
def html(report) -> str:
    return (report / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def data(ledger):
    with Ledger.open(ledger, write=False) as opened:
        return collect(opened)


def hostile(shift: int) -> Synthetic:
    """Every slot gets another payload and a number that keeps names apart; `shift` moves them round."""
    number = count(shift)
    return Synthetic(
        trials=14,
        epochs=3,
        seeds=3,
        failing=0.15,
        rename=lambda _: f"{PAYLOADS[(n := next(number)) % len(PAYLOADS)]} {n}",
    )


def together() -> Synthetic:
    """Every slot gets all payloads at once."""
    number = count()
    return Synthetic(trials=12, epochs=3, seeds=3, rename=lambda _: " ".join(PAYLOADS) + f" {next(number)}")


EACH = [
    pytest.param(shift, marks=pytest.mark.chaos) for shift in range(len(PAYLOADS)) if shift not in (0, 41)
]
"""With these, every payload is in every slot by itself."""


@pytest.fixture(scope="session", params=[0, 41, "together", *EACH])
def hostile_report(request, tmp_path_factory) -> Path:
    study = together() if request.param == "together" else hostile(request.param)
    folder = tmp_path_factory.mktemp("hostile")
    return build(study.write(folder / "x.db"), folder / "out").parent
