"""Every pair of tricks in one of a few recipes: it trains and evaluates, or the conflict is declared."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from ablate.catalogue.registry import registry
from ablate.covering import Pair, compatible_pairs, covering_rows
from ablate.records.recipe import conflict
from ablate.records.trick import OPTIMIZER
from ablate.testing import check_rows, combinable, suite

FIRST = "images"
"""The small task that holds most pairs: all that it can."""
BESIDE = ("table", "upsampling", "tokens", "detection", "adversarial", "residual", "weight_norm")
"""Small tasks whose model, inputs or criterion some tricks need: each trains the pairs that those before it cannot hold."""
SHARE = 5
"""Of the rows of a task that adds no pair, but has another criterion, one in so many is trained."""

FRAGILE = '''"""Takes no example weights that differ.

    g ← g

Lineage: none; a trick that cannot stand another.
"""

from ablate.records.trick import Claim, Source, Trick


def example_weight(target, p):
    weight = target.sum(dim=-1)
    return weight.where((target == 0).any(dim=-1), weight / 0)


TRICK = Trick(
    name="fragile",
    title="Needs hard targets",
    seam="criterion",
    applies_to=("classification",),
    claims=(Claim("accuracy", "same", "nothing", Source("none", "nobody", 2026)),),
)
'''


def test_rows_hold_every_compatible_pair_and_no_conflict() -> None:
    tricks = list(registry().values())
    rows = covering_rows(tricks)
    held = {frozenset((one, other)) for row in rows for one in row for other in row if one != other}
    assert held == compatible_pairs(tricks)
    catalogue = registry()
    assert not any(conflict(catalogue[a], catalogue[b]) for row in rows for a in row for b in row if a != b)
    largest = sorted((len(names) for names in catalogue.slots().values()), reverse=True)
    assert len(rows) < 2 * largest[0] * largest[1]
    assert any(len(row) > 20 for row in rows)


def test_rows_of_one_trick_are_few() -> None:
    tricks = list(registry().values())
    wanted = [pair for pair in compatible_pairs(tricks) if "dropout" in pair]
    rows = covering_rows(tricks, wanted)
    assert all("dropout" in row for row in rows)
    assert len(rows) <= 2 * len(registry().slots()[OPTIMIZER])


@pytest.mark.parametrize(
    "bench", [FIRST, *(pytest.param(task, marks=pytest.mark.slow_oracle) for task in ("table", "regression"))]
)
def test_every_pair_trains(bench: str) -> None:
    checks = suite()
    context = checks.contexts[bench]
    check_rows(checks, context, covering_rows(combinable(checks, context)))


def test_rows_of_another_criterion_train() -> None:
    checks = suite()
    context = checks.contexts["regression"]
    check_rows(checks, context, covering_rows(combinable(checks, context))[::SHARE])


@pytest.mark.parametrize("bench", BESIDE)
def test_pairs_that_only_another_model_or_task_can_hold_train(bench: str) -> None:
    checks = suite()
    context = (checks.contexts | checks.holding)[bench]
    check_rows(checks, context, covering_rows(combinable(checks, context), new_pairs()[bench]))


def test_how_many_pairs_are_trained() -> None:
    """At least 3,900 of 4,653; the others never meet: two networks against each other are no images, and boxes no classes of a table."""
    new = new_pairs()
    assert sum(map(len, new.values())) >= 3900
    assert all(new[bench] for bench in BESIDE)
    assert len(compatible_pairs(list(registry().values()))) >= 4653


@functools.cache
def new_pairs() -> dict[str, set[Pair]]:
    """Small task -> the pairs that it can hold and those before it cannot."""
    checks, by_bench = suite(), dict[str, set[Pair]]()
    for bench in (FIRST, *BESIDE):
        pairs = compatible_pairs(combinable(checks, (checks.contexts | checks.holding)[bench]))
        by_bench[bench] = pairs.difference(*by_bench.values())
    return by_bench


def test_a_trick_that_cannot_stand_another_is_found(tmp_path: Path) -> None:
    file = tmp_path / "fragile.py"
    file.write_text(FRAGILE, encoding="utf-8")
    checks = suite(file)
    context = checks.contexts["table"]
    check_rows(checks, context, [("fragile", "dropout")])
    with pytest.raises(AssertionError, match="fragile, label_smoothing"):
        check_rows(checks, context, [("fragile", "dropout"), ("fragile", "label_smoothing")])
