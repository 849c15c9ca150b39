"""`ablate tricks`: the catalogue, and the card of a trick. Reads records; imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ablate.cli.options import Json, on_this_machine
from ablate.cli.output import print_json


def tricks(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A trick, for its card.")] = "",
    seam: Annotated[str, typer.Option(help="Only the tricks of a seam.")] = "",
    task: Annotated[str, typer.Option(help="Show what applies to a task (loads torch).")] = "",
    trick_paths: Annotated[
        list[str] | None,
        typer.Option(
            "--tricks", "--file", help="A trick of your own: a file, a folder, or torch.optim.NAME."
        ),
    ] = None,
    pages: Annotated[
        Path | None,
        typer.Option(help="Write a page for each trick into this folder.", callback=on_this_machine),
    ] = None,
    json: Json = False,
) -> None:
    """List the tricks, or show one: what, formula, parameters, when not to use it, claims, sources.

    Examples: ablate tricks · ablate tricks dropout · ablate tricks --task my_task.py:task
    """
    from ablate.catalogue.cards import card, document, listing
    from ablate.catalogue.own_tricks import catalogue_with, own_tricks
    from ablate.records.errors import unknown
    from ablate.records.trick import SEAMS

    catalogue = catalogue_with(own_tricks(trick_paths or ()))
    if seam and seam not in SEAMS:
        raise unknown("seam", seam, SEAMS)
    if pages is not None:
        typer.echo(_write(pages, catalogue))
        return
    if name:
        entry = catalogue.find(name)
        if json:
            print_json({**document(entry.trick), "description": entry.description})
        else:
            typer.echo(card(entry.trick, entry.description))
        return
    chosen = [trick for trick in catalogue.values() if seam in ("", trick.seam)]
    reasons = _applicable(task, catalogue) if task else {}
    if json:
        print_json([{**document(t), **({"not_applicable": reasons[t.name]} if task else {})} for t in chosen])
        return
    typer.echo("\n".join(listing(chosen, reasons)))


def _write(folder: Path, catalogue: Any) -> str:
    """Write the pages of the catalogue; pages of tricks that no longer exist are removed."""
    from ablate.catalogue.cards import pages
    from ablate.records.files import write_text

    written = pages(catalogue)
    for name, text in written.items():
        write_text(folder / name, text)
    for old in folder.glob("*.md"):
        if old.name not in written:
            old.unlink()
    return f"{len(written)} pages in {folder}"


def _applicable(task: str, catalogue: Any) -> dict[str, str]:
    import torch

    from ablate.lanes.applicable import applicable
    from ablate.lanes.context import TaskContext
    from ablate.tasks.load import load

    return applicable(TaskContext.of(load(task), catalogue, torch.device("cpu")))
