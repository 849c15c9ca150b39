"""The claims suite: two tiny claims from file to table, the statistics, and the files that are shipped."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sweep import sweep

from ablate.catalogue.registry import registry
from ablate.ledger.export import write_csv
from ablate.records.claim_file import parse
from ablate.records.errors import InputError
from ablate.records.run import Outcome
from ablate.study.claims.measure import ClaimEffect, cost_effect, paired_effect, values, verdict
from ablate.study.claims.page import claims_page, read_csv
from ablate.study.claims.suite import claim_files, read_claim, run_claims
from ablate.study.progress import Silent
from ablate.study.request import Options

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "studies/claims"
TASK = """
import torch
from torch import nn
from ablate import Task

def rows():
    x = torch.randn(150, 4, generator=torch.Generator().manual_seed(1))
    model = lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    return Task(model, (x, (x[:, 0] > 0).long()), epochs=2, batch_size=16, test=False, name="rows")
"""
HARMFUL = """
task = "tasks.py:rows"
[claim]
trick = "initialization"
statement = "weights that begin at zero learn nothing"
metric = "accuracy"
direction = "down"
[both]
momentum = { lr = 0.1 }
[with]
initialization = { scheme = "zero" }
"""
MEMORY = """
task = "tasks.py:rows"
[claim]
trick = "sgd"
statement = "less memory than Adam"
metric = "memory"
direction = "down"
rates = "given"
[without]
adam = { lr = 0.01 }
[with]
sgd = { lr = 0.1 }
"""


def test_two_claims_from_file_to_table(tmp_path: Path) -> None:
    for name, text in (("tasks.py", TASK), ("harmful.toml", HARMFUL), ("memory.toml", MEMORY)):
        (tmp_path / name).write_text(text)
    options = Options(studies=tmp_path, executor="inline", kernel="batched")

    def rows() -> list[dict[str, str | int | float | None]]:
        return list(run_claims(claim_files(tmp_path), options, 4, lambda opened: nullcontext(Silent())))

    harmful, memory = rows()
    assert harmful["verdict"] == memory["verdict"] == "supported"
    assert (harmful["pairs"], memory["runs"]) == (4, 0)
    assert harmful["runs"] >= 2 * 11 + 2 * 4
    assert float(harmful["effect"] or 0) == pytest.approx(float(harmful["with"]) - float(harmful["without"]))  # type: ignore[arg-type]
    assert 0 < float(memory["effect"] or 0) < 1
    again = rows()  # nothing is trained: everything is in the ledgers
    assert again == [harmful, memory]
    write_csv(tmp_path / "claims.csv", again, list(harmful))
    table = read_csv(tmp_path / "claims.csv")
    assert claims_page(table) == claims_page(again)
    assert "2 claims: 2 supported, 0 contradicted, 0 no evidence here" in claims_page(table)


@sweep("seed", range(20))
def test_the_interval_is_the_paired_t_interval(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = random.normal(size=(2, 8))
    effect = paired_effect(one.tolist(), other.tolist())
    low, high = stats.ttest_rel(other, one).confidence_interval(0.95)
    assert (effect.low, effect.high) == pytest.approx((low, high))
    ratio = cost_effect(np.exp(one).tolist(), np.exp(other).tolist())
    assert (ratio.low, ratio.high) == pytest.approx((low, high))


@pytest.mark.parametrize("higher", [True, False])
def test_steps_to_the_target_are_whole_epochs_until_the_median_end_of_the_runs_without(higher: bool) -> None:
    sign = 1 if higher else -1
    session: Any = SimpleNamespace(
        metric="m", higher=higher, epochs=4, context=SimpleNamespace(task=SimpleNamespace(train=range(150), batch_size=16))
    )  # fmt: skip

    def entry(*curve: float, outcome: Outcome = Outcome.COMPLETE, **recipe: Any) -> Any:
        result = SimpleNamespace(curves={"m": [sign * value for value in curve]}, outcome=outcome)
        return SimpleNamespace(result=result, run=SimpleNamespace(recipe=recipe))

    without = [entry(1, 2, 3, 4), entry(3, 5, 5, 5), entry(1, 1, 2, 3)]  # the median end is 4
    with_trick = [
        entry(4, 9, 9, 9),
        entry(1, 1, 1, 1),  # never there
        entry(9, outcome=Outcome.DIVERGED),
        entry(1, 9, 9, 9, batch_size={"size": 500}),  # one batch an epoch
    ]
    one, other = values(session, "steps_to_target", without, with_trick)
    assert one == [4 * 9, 2 * 9, 4 * 9]
    assert other == [1 * 9, 4 * 9, 4 * 9, 2 * 1]


def test_a_pair_with_a_failed_run_does_not_count() -> None:
    effect = paired_effect([1.0, 2.0, float("nan")], [2.0, 4.0, 1.0])
    assert (effect.pairs, effect.effect, effect.without, effect.with_trick) == (2, 1.5, 1.5, 3.0)


@pytest.mark.parametrize(
    ("low", "high", "direction", "expected"),
    [
        (0.1, 0.3, "up", "supported"), (-0.3, -0.1, "up", "contradicted"), (-0.1, 0.3, "up", "no evidence here"),
        (0.1, 0.3, "down", "contradicted"), (-0.3, -0.1, "down", "supported"), (0.0, 0.0, "up", "no evidence here"),
        (-0.1, 0.1, "same", "supported"), (0.3, 0.4, "same", "contradicted"), (-0.4, -0.3, "same", "contradicted"),
        (-0.1, 0.9, "not lower", "supported"), (-0.9, -0.3, "not lower", "contradicted"), (-0.3, 0.1, "not lower", "no evidence here"),
        (-0.9, 0.1, "not higher", "supported"), (0.3, 0.9, "not higher", "contradicted"), (0.1, 0.3, "same", "no evidence here"), (float("nan"), float("nan"), "up", "no evidence here"),
    ],
)  # fmt: skip
def test_verdicts(low: float, high: float, direction, expected: str) -> None:
    assert verdict(ClaimEffect((low + high) / 2, low, high, 0.0, 0.0, 9), direction, 0.2) == expected


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_claims_can_be_read_and_are_about_their_trick(path: Path) -> None:
    claim, _ = read_claim(path)
    one, other = (recipe.get(claim.trick) for recipe in (claim.without, claim.with_trick))
    assert one is not None or other is not None
    assert one != other or claim.trick == "radam"  # with and without warmup


def test_at_least_thirty_tricks_have_a_claim() -> None:
    assert len({read_claim(path)[0].trick for path in SHIPPED.glob("*.toml")}) >= 30


def test_the_page_is_made_from_the_table() -> None:
    table = read_csv(ROOT / "bench/results/claims.csv")
    written = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    assert written == claims_page(table), (
        "stale: run `ablate claims --csv bench/results/claims.csv --page docs/claims.md`"
    )
    assert {str(row["claim"]) for row in table} <= {path.stem for path in SHIPPED.glob("*.toml")}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"down"', '"same"', "margin"),
        ('trick = "initialization"', 'trick = "dropuot"', "dropout"),
        ('metric = "accuracy"\n', "", "needs 'metric'"),
        ('initialization = { scheme = "zero" }', "", "same recipe"),
        ("momentum = { lr = 0.1 }", "", "no optimizer"),
        ("[both]", "[bath]", "both"),
    ],
)
def test_wrong_files_are_refused_with_the_line(before: str, after: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(HARMFUL.replace(before, after), "a.toml", catalogue=registry())


def test_unknown_names_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no claim files"):
        claim_files(tmp_path)
    with pytest.raises(InputError, match="tta-accuracy"):
        claim_files(SHIPPED, ["tta-acuracy"])
