"""`ablate rank --table`: the ranking of runs that another program trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import typer

from ablate.cli.common import print_json
from ablate.cli.running import ranking_table
from ablate.ledger.export import write_csv
from ablate.ranking.analysis import Analysis
from ablate.ranking.external import analyse_table
from ablate.ranking.table import COLUMNS
from ablate.ranking.table import ranking_table as as_ranking
from ablate.records.errors import InputError
from ablate.records.names import check_name
from ablate.report.build import plain_rows


def rank_table(
    path: Path,
    factors: Sequence[str],
    metric: str,
    *,
    lower: bool,
    seed: str,
    margin: float | None,
    out: Path,
    json: bool,
) -> None:
    """Analyse the CSV at `path` (one row a run), print the ranking and write `OUT/NAME/ranking.csv`.

    Raises InputError for a file that cannot be read and for every wrong column.
    """
    if not metric:
        raise InputError("--table needs --metric", hint="name the column that a run is judged by")
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"the table {path} cannot be read: {reason}", hint="give a CSV with a header"
        ) from error
    found = analyse_table(frame, factors, metric, "lower" if lower else "higher", seed or None, margin)
    ranking = as_ranking(average=found.table)
    rows = plain_rows(ranking)
    target = out / check_name(path.stem) / "ranking.csv"
    write_csv(target, rows, COLUMNS)
    if json:
        print_json(document(found, rows, target))
        return
    typer.echo(
        f"{found.used} runs used of {found.runs}, {found.failed} failed, {found.excluded} left out; σ {found.sigma:.4g}"
    )
    for warning in found.warnings:
        typer.echo(f"note: {warning}")
    from rich.console import Console

    Console(highlight=False).print(ranking_table(ranking))
    typer.echo(f"ranking: {target}")


def document(found: Analysis, rows: list[dict[str, Any]], target: Path) -> dict[str, Any]:
    return {
        "runs": found.runs,
        "used": found.used,
        "failed": found.failed,
        "excluded": found.excluded,
        "sigma": found.sigma,
        "warnings": list(found.warnings),
        "ranking": rows,
        "file": str(target),
    }
