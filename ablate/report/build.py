"""From a ledger to `reports/NAME/`: the page and its data; every file is written atomically and is a function of the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ablate.ledger.contents import contents
from ablate.ledger.entry import Entry, in_order
from ablate.ledger.export import RUN_COLUMNS, write_columns, write_csv, write_curves
from ablate.ledger.index import collector_paused
from ablate.ranking.estimation.coding import lines
from ablate.records.errors import InputError
from ablate.records.files import cannot_write, write_text
from ablate.report.action import recommended_recipe
from ablate.report.clean import clean_text
from ablate.report.collect import gather
from ablate.report.data import RANKING_COLUMNS, ReportData
from ablate.report.documents import json_text, recipe_toml, study_document
from ablate.report.external import ExternalRuns, external_data
from ablate.report.page import render


def build(ledger_path: Path, folder: Path) -> Path:
    """Write the report of the ledger into `folder` and return the path of its `index.html`.

    Raises InputError if the ledger cannot be read or the folder cannot be written to. Everything is
    made before the first file is written; the page is written last, so that it never points at old data.
    """
    with collector_paused():  # a million entries are no garbage, and each collection would traverse them
        return _build(ledger_path, folder)


def _build(ledger_path: Path, folder: Path) -> Path:
    facts, recorded = contents(ledger_path)
    entries = in_order(recorded)
    _make(folder)
    data = gather(facts, entries)
    page = render(data)
    texts = {
        **{f"plots/{picture.name}.svg": picture.file for picture in page.pictures},
        "lr-find.json": json_text(data.lr_find),
        "study.json": json_text(study_document(data)),
        "recipe.toml": recipe_toml(recommended_recipe(data), data.name),
    }
    write_data(folder, data, entries)
    for name, text in texts.items():
        write_text(folder / name, text)
    for stale in sorted((folder / "plots").glob("*.svg")):
        if f"plots/{stale.name}" not in texts:
            stale.unlink()
    write_text(folder / "index.html", page.html)
    return folder / "index.html"


def build_external(result: ExternalRuns, folder: Path) -> Path:
    """The page and data of runs of another program; the path of `index.html`. Raises InputError if
    the folder cannot be written to, or holds the report of a study."""
    if (folder / "lr-find.json").exists():
        raise InputError(f"{folder} holds the report of a study", hint="name another folder with --out")
    data = external_data(result)
    page = render(data)
    _make(folder)
    write_csv(folder / "ranking.csv", plain_rows(result.ranking), RANKING_COLUMNS)
    write_columns(folder / "runs.csv", result.runs)
    if result.importances:
        write_csv(folder / "importances.csv", [dict(row) for row in result.importances])
    for name, rows in (("blocks", result.blocks), ("ranks", result.ranks), ("tuning", result.tuning)):
        if rows:
            write_csv(folder / f"{name}.csv", [dict(row) for row in rows])
    for picture in page.pictures:
        write_text(folder / f"plots/{picture.name}.svg", picture.file)
    write_text(folder / "index.html", page.html)
    return folder / "index.html"


def _make(folder: Path) -> None:
    """Create the folder before the work, so that an error is reported at once."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def write_data(folder: Path, data: ReportData, entries: Sequence[Entry]) -> None:
    """`ranking.csv`, `runs.csv`, `curves.csv`; with only their header if there are no rows yet."""
    write_csv(folder / "ranking.csv", plain_rows(data.ranking), RANKING_COLUMNS)
    write_columns(folder / "runs.csv", data.run_columns or {name: [] for name in (*RUN_COLUMNS, "seconds")})
    write_curves(folder / "curves.csv", entries, clean_text)


def plain_rows(frame: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Rows of the ranking with None for missing values."""
    if frame is None:
        return []
    rows = frame.reindex(columns=list(RANKING_COLUMNS)).astype(object)
    return [
        {str(key): None if value is None or value != value else value for key, value in row.items()}
        for row in lines(rows)
    ]
