"""`ablate export`: the winner as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.options import Json, Name, Out, Quiet, Studies, Tricks
from ablate.cli.output import print_json
from ablate.cli.table_target import Target, with_target


def export(
    given: Annotated[
        str, typer.Argument(metavar="[STUDY]", help="The study's name, its file, or file.py:name.")
    ] = "digits",
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="By commas: script, recipe, weights, text (these four by default), parquet, mlflow, wandb, tensorboard.",
        ),
    ] = "",
    recipe: Annotated[Path | None, typer.Option(help="A recipe file; else the recommended recipe.")] = None,
    target: Target = "",
    seed: Annotated[
        int | None, typer.Option(help="Of the run; else that of one in the ledger.", min=0)
    ] = None,
    studies: Studies = Path("studies"),
    name: Name = "",
    tricks: Tricks = None,
    out: Out = Path("reports"),
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write the winner as one script that needs torch alone, its recipe and weights, and the ablation as text and table.

    Into the folder export/ of the study's report. Changes nothing in the ledger; running it again overwrites the files.
    Examples: ablate export digits · ablate export digits --to script · ablate export my.toml --to mlflow,parquet
    """
    from ablate.api.exporting import export_study

    done = export_study(
        with_target(given, target), to.split(","), recipe=recipe, seed=seed, studies=studies, reports=out, name=name, tricks=tuple(tricks or ()),
        say=lambda line: None if quiet or json else typer.echo(line, err=True),
    )  # fmt: skip
    if json:
        print_json({"folder": str(done.folder), "run": done.run, "files": done.files, "notes": done.notes})
        return
    for kind, paths in done.files.items():
        for path in paths:
            typer.echo(f"{kind}: {path}")
    for line in done.notes:
        typer.echo(f"note: {line}", err=True)
