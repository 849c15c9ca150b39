"""`ablate lr-find`: the protocol that finds a learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ablate.cli.options import (
    MachineOptions,
    OutputOptions,
    StudyOptions,
    grouped,
    options_of,
    preload_workers,
)
from ablate.cli.output import print_json


@grouped
def lr_find(
    given: Annotated[
        str, typer.Argument(metavar="[TASK]", help="A task, file.py:name, or a study file.")
    ] = "digits",
    force: Annotated[bool, typer.Option(help="Continue if a gate fails.")] = False,
    budget: Annotated[
        str,
        typer.Option(
            help='Limit of the training: "10m", "90s" or "8runs" (default: 14 runs, short ones included).'
        ),
    ] = "",
    *,
    study: StudyOptions,
    machine: MachineOptions,
    output: OutputOptions,
) -> None:
    """Find a sound learning rate and weight decay in six steps, each a gate with a verdict.

    Exit code 0 when all steps pass or warn, 1 when one fails.
    Examples: ablate lr-find · ablate lr-find my_task.py:task --json
    """
    given = study.of(given)
    preload_workers(given, study.studies, machine)
    from ablate.api.stages import open_study, run_stages
    from ablate.cli.steps import show_steps
    from ablate.records.errors import AblateError, InputError

    page: Path | None = None
    options = options_of(study, machine, output)
    opened = open_study(given, options, study.edits())
    try:
        done = run_stages(
            opened, options, ["lr-find", "report"], force=force, quiet=output.silent, lr_find_budget=budget
        )
        document, page = done.data.lr_find or {}, done.page
    except InputError:
        raise
    except AblateError:
        document = stored(study.studies / f"{opened.name}.db")
        if not document:
            raise
    if output.json:
        print_json(document)
    else:
        show_steps(document)
        if page is not None:
            typer.echo(f"report: {page}")
    if any(step["verdict"] == "fail" for step in document["steps"]):
        raise typer.Exit(1)


def stored(path: Path) -> dict[str, Any]:
    """The protocol's document in a ledger; empty if there is none."""
    from ablate.ledger.store import Ledger

    return Ledger.facts_of(path).get("lr-find") or {}
