"""`ablate init`: a study file, and a task file for your own model, to start from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.new import write_new
from ablate.cli.options import Json, NewFiles
from ablate.cli.output import print_json

OWN = "own"


def init(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Name of the study and of its files.")] = "my",
    task: Annotated[
        str,
        typer.Option(help="What is trained: own (a task file is written), digits, data.csv:COLUMN, images/."),
    ] = "",
    criterion: Annotated[
        str, typer.Option(help="For your own model: classification or regression.")
    ] = "classification",
    epochs: Annotated[int, typer.Option(help="Of every run.", min=1, max=1_000_000)] = 20,
    trials: Annotated[int, typer.Option(help="Of the search.", min=1, max=1_000_000)] = 100,
    out: NewFiles = Path(),
    json: Json = False,
) -> None:
    """Write a commented study file, NAME.toml, and NAME_task.py for a model of your own; both run unchanged.

    Without --task it asks, on a terminal.
    Examples: ablate init · ablate init income --task adult.csv:income · ablate init net --task own --criterion regression
    """
    from ablate.api.init_template import TARGETS, study_text, task_text
    from ablate.records.errors import unknown
    from ablate.records.names import check_name

    check_name(name)
    if not task:
        task, criterion = _dialogue(criterion) if sys.stdin.isatty() and not json else (OWN, criterion)
    if criterion not in TARGETS:
        raise unknown("criterion", criterion, TARGETS)
    files = {}
    if task == OWN:
        module = f"{name.replace('-', '_').replace('.', '_')}_task.py"
        files[module] = task_text(module, criterion)
        task = f"{module}:task"
    study = f"{name}.toml"
    files[study] = study_text(task, file=study, epochs=epochs, trials=trials)
    written = write_new(out, files)
    if json:
        print_json({"files": [str(path) for path in written]})
        return
    for path in written:
        typer.echo(f"written: {path}")
    typer.echo(f"see what it would do: ablate plan {written[-1]}; run it: ablate study {written[-1]}")


def _dialogue(criterion: str) -> tuple[str, str]:
    """The task and the criterion, from a dialogue."""
    task = typer.prompt(
        "What do you train? own (a model of yours), digits, data.csv:COLUMN, or a folder of images",
        default=OWN, err=True,
    )  # fmt: skip
    if task == OWN:
        criterion = typer.prompt("classification or regression?", default=criterion, err=True)
    return str(task), str(criterion)
