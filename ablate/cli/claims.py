"""`ablate claims`: claims of the literature, each tested by a small paired experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.options import Json, MachineOptions, Quiet, StudyOptions, grouped, on_this_machine, options_of
from ablate.cli.output import print_json

if TYPE_CHECKING:
    from ablate.study.claims.suite import Row


@grouped
def claims(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Claims; all if none is named.")
    ] = None,
    folder: Annotated[Path, typer.Option("--claims", help="Folder of claim files and their ledgers.")] = Path(
        "studies/claims"
    ),
    pairs: Annotated[int, typer.Option(help="Paired seeds of each claim.", min=3, max=10_000)] = 12,
    thorough: Annotated[
        bool,
        typer.Option(
            "--thorough", help="Tune each recipe as the ranking tunes its reference, not with 11 runs."
        ),
    ] = False,
    csv: Annotated[
        Path | None, typer.Option(help="Write the table as CSV.", callback=on_this_machine)
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Write the table as Markdown.", callback=on_this_machine)
    ] = None,
    *,
    machine: MachineOptions,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Test claims: each with and without its trick, both at their own best learning rate, on paired seeds.

    Prints metric, effect with its 95 % interval, and: supported, contradicted or no evidence here. Run it again to resume.
    Example: ablate claims label-smoothing-ece --pairs 30
    """
    from ablate.api.stages import shown_for
    from ablate.ledger.export import write_csv
    from ablate.records.errors import InputError
    from ablate.records.files import write_text
    from ablate.study.claims.page import claims_page
    from ablate.study.claims.suite import claim_files, run_claims

    for path in (csv, page):
        if path is not None and not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent}", hint="make it, or name another file")
    options = options_of(StudyOptions(studies=folder), machine)
    files = claim_files(folder, names or ())
    rows: list[Row] = []
    for row in run_claims(
        files, options, pairs, lambda opened: shown_for(opened, quiet=quiet or json), thorough=thorough
    ):
        rows.append(row)
        if not json:
            typer.echo(line(row))
    if csv is not None:
        write_csv(csv, rows, list(rows[0]))
    if page is not None:
        write_text(page, claims_page(rows))
    if json:
        print_json(rows)


def line(row: Row) -> str:
    """One line for the terminal."""
    from ablate.study.claims.page import effect_text

    return f"{row['claim']:<34} {row['metric']:<19} {effect_text(row):<34} {row['verdict']}"
