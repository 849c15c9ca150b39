"""The registry of designs: a record for each name, and no second list of them anywhere."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ablate.ranking.designs.design import Factor
from ablate.ranking.designs.registry import DESIGNS, array_design, check_kind, estimand_of, wave_of
from ablate.ranking.estimands import ESTIMANDS
from ablate.ranking.verdicts.ranking_table import ROW_ORDER
from ablate.records import designs
from ablate.records.errors import InputError

PACKAGE = Path(designs.__file__).parent.parent
NAMES = {"screening", "factorial", "drop-one", "add-one", "toggle"}


def test_every_design_has_a_record():
    assert tuple(DESIGNS) == designs.DESIGN_NAMES
    assert designs.DESIGN_NOTES.keys() == DESIGNS.keys()
    assert [name for name, design in DESIGNS.items() if design.array is None] == ["tuned"]
    assert {name: design.estimands for name, design in DESIGNS.items()} == {
        "tuned": ("add-one", "toggle"),
        "screening": ("average",),
        "factorial": ("average",),
        "drop-one": ("drop-one",),
        "add-one": ("add-one",),
    }
    for design in DESIGNS.values():
        assert all(ESTIMANDS[estimand].where for estimand in design.estimands)
        assert design.question


def test_every_estimand_has_its_words_and_a_place_in_the_table():
    assert ESTIMANDS.keys() == set(ROW_ORDER)
    assert all(text.definition.endswith(".") for text in ESTIMANDS.values())


@pytest.mark.parametrize("kind", designs.ARRAY_DESIGNS)
def test_a_design_makes_the_rows_of_its_own_kind(kind):
    factors = [Factor("dropout"), Factor("warmup"), Factor("placebo")]
    assert wave_of(kind, factors, wave=1, seed=3).kind == kind
    assert estimand_of(kind) == DESIGNS[kind].estimands[0]


@pytest.mark.parametrize("kind", ["tuned", "pilot", "latin"])
def test_another_kind_is_no_array(kind):
    assert estimand_of(kind) is None
    with pytest.raises(InputError, match=f"array design '{kind}'"):
        array_design(kind)


def test_only_the_factorial_limits_its_tricks():
    many = [Factor(f"trick_{i}") for i in range(5)]
    for kind in designs.ARRAY_DESIGNS:
        if kind != "factorial":
            check_kind(kind, many)
    with pytest.raises(InputError, match="a full factorial of 5 tricks"):
        check_kind("factorial", many)


def test_the_names_are_written_once():
    """Elsewhere the constants of `records/designs.py` stand for them."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path == Path(designs.__file__):
            continue
        written = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and node.value in NAMES
        }
        assert not written, f"{path.relative_to(PACKAGE)}: {written}"
