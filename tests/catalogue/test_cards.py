"""The catalogue as plain data, as cards and as pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ablate.catalogue.cards import card, document, page, pages
from ablate.catalogue.registry import registry
from ablate.cli.app import app

PAGES = Path(__file__).parent.parent.parent / "docs" / "tricks"


def test_the_pages_are_those_of_the_records() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in PAGES.glob("*.md")}
    assert written == pages(registry()), "stale: run `ablate tricks --pages docs/tricks`"


@pytest.mark.parametrize("name", list(registry()))
def test_a_card_tells_what_a_practitioner_asks(name: str) -> None:
    entry = registry().find(name)
    trick = entry.trick
    for text in (card(trick, entry.description), page(trick, entry.description)):
        flat = " ".join(text.split())
        assert trick.title in text
        assert entry.description.splitlines()[0] in text
        for parameter in trick.parameters:
            assert parameter.name in text
            assert parameter.meaning, f"{name}.{parameter.name} does not say what it means"
            assert " ".join(parameter.meaning.split()) in flat
        for claim in trick.claims:
            assert " ".join(claim.statement.split()) in flat
            assert f"({claim.source.year})" in text
            assert claim.source.url.startswith("https://"), f"{name}: a source needs an address"
            assert " ".join(claim.contested.split()) in flat
        assert all(other in text for other in trick.conflicts)
    assert "Lineage: " in entry.description


def test_the_data_are_the_whole_record() -> None:
    found = json.loads(json.dumps([document(trick) for trick in registry().values()], allow_nan=False))
    assert {row["name"] for row in found} == set(registry())
    keys = {"seam", "slot", "parameters", "applies_to", "conflicts", "claims", "lane"}
    assert all(keys <= row.keys() for row in found)
    clip = next(row for row in found if row["name"] == "clip_norm")
    assert clip["parameters"][0]["neutral"] == "inf"
    assert clip["claims"][0]["source"]["year"] == 2012


def test_pages_are_written_and_old_ones_removed(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("old", encoding="utf-8")
    result = CliRunner().invoke(app, ["tricks", "--pages", str(tmp_path)])
    assert result.exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == set(pages(registry()))
