"""`ablate lr-find`: the protocol that finds a learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    from ablate.ledger.store import Ledger
    from ablate.records.errors import GateFailed

    page: Path | None = None
    options = options_of(study, machine, output)
    opened = open_study(given, options, study.edits())
    try:
        done = run_stages(
            opened, options, ["lr-find", "report"], force=force, quiet=output.silent, lr_find_budget=budget
        )
        document, page = done.data.lr_find or {}, done.page
    except GateFailed:  # the steps say why; any other failure is its own message
        document = Ledger.facts_of(study.studies / f"{opened.name}.db")["lr-find"]
    if output.json:
        print_json(document)
    else:
        show_steps(document)
        if page is not None:
            typer.echo(f"report: {page}")
    if any(step["verdict"] == "fail" for step in document["steps"]):
        raise typer.Exit(1)
