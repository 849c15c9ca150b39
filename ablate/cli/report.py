"""`ablate report`: the report again, from the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.options import Json, Out, Studies
from ablate.cli.output import print_json


def report(
    given: Annotated[
        str,
        typer.Argument(metavar="[STUDY]", help="The study's name, its file, its ledger, or file.py:name."),
    ] = "digits",
    studies: Studies = Path("studies"),
    out: Out = Path("reports"),
    json: Json = False,
) -> None:
    """Write the report of a study from its ledger; trains nothing, changes nothing in the ledger.

    Examples: ablate report · ablate report digits --out /tmp/reports
    """
    from ablate.ledger.foreign_tables import foreign_tables
    from ablate.records.names import check_name
    from ablate.report.build import build

    named = given
    if ":" in given or given.endswith((".py", ".toml", "/")):
        from ablate.study.request import Options, find

        named = find(given, Options(studies)).name
    ledger = Path(given) if given.endswith(".db") else studies / f"{check_name(named)}.db"
    page = build(ledger, out / check_name(ledger.stem))
    if line := foreign_tables(ledger):
        typer.echo(line, err=True)
    if json:
        print_json({"study": ledger.stem, "report": str(page)})
    else:
        typer.echo(f"report: {page}")
