"""The catalogue as plain data, as cards and as pages."""

from __future__ import annotations

import json
import re
from pathlib import Path

from sweep import sweep
from typer.testing import CliRunner

from ablate.catalogue.cards import card, document, page, pages
from ablate.catalogue.registry import registry
from ablate.cli.commands import app

PAGES = Path(__file__).parent.parent.parent / "docs" / "tricks"


def test_the_pages_are_those_of_the_records() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in PAGES.glob("*.md")}
    assert written == pages(registry()), "stale: run `ablate tricks --pages docs/tricks`"


@sweep("name", list(registry()))
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


ARXIV = re.compile(r"https://arxiv\.org/abs/(\d\d)(0[1-9]|1[0-2])\.(\d{4}|\d{5})")
DOI = re.compile(r"https://doi\.org/10\.\d{4,9}/\S+")


def form_of(url: str, year: int) -> str:
    """What is wrong with the address of a source of that year; empty where nothing is."""
    if "arxiv.org" in url:
        match = ARXIV.fullmatch(url)
        if match is None:
            return "no address of an abstract on arXiv"
        posted = 2000 + int(match[1])
        digits = 4 if posted < 2015 else 5
        if len(match[3]) != digits:
            return f"an identifier of {posted} has {digits} digits"
        return "" if posted <= year <= posted + 2 else f"posted in {posted}, and the record says {year}"
    if "doi.org" in url:
        return "" if DOI.fullmatch(url) else "no DOI"
    return "" if re.fullmatch(r"https://[\w.-]+\.\w+/\S+", url) else "no address of a page"


@sweep("name", list(registry()))
def test_sources_have_addresses_of_the_right_form(name: str) -> None:
    for claim in registry()[name].claims:
        assert form_of(claim.source.url, claim.source.year) == ""
        for number in re.findall(r"\((?:[^()]*, )?(\d{4}\.\d{4,5})\)", claim.contested):
            assert form_of(f"https://arxiv.org/abs/{number}", 2000 + int(number[:2])) == ""


def test_wrong_addresses_are_found() -> None:
    for url, year in (
        ("https://arxiv.org/pdf/1502.03167", 2015), ("https://arxiv.org/abs/1502.0316", 2015), ("https://arxiv.org/abs/1513.03167", 2015),
        ("https://arxiv.org/abs/1502.03167", 2019), ("https://doi.org/foo", 2019), ("http://a.b/c", 2019), ("https://jmlr.org", 2014),
    ):  # fmt: skip
        assert form_of(url, year), url


def test_the_data_are_the_whole_record() -> None:
    records = json.loads(json.dumps([document(trick) for trick in registry().values()], allow_nan=False))
    assert {row["name"] for row in records} == set(registry())
    keys = {"seam", "slot", "parameters", "applies_to", "conflicts", "claims", "lane"}
    assert all(keys <= row.keys() for row in records)
    clip = next(row for row in records if row["name"] == "clip_norm")
    assert clip["parameters"][0]["neutral"] == "inf"
    assert clip["claims"][0]["source"]["year"] == 2012


def test_pages_are_written_and_old_ones_removed(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("old", encoding="utf-8")
    result = CliRunner().invoke(app, ["tricks", "--pages", str(tmp_path)])
    assert result.exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == set(pages(registry()))
