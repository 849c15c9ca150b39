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
DEFAULT = "classification"


def init(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Name of the study and of its files.")] = "my",
    task: Annotated[
        str,
        typer.Option(help="What is trained: own (a task file is written), digits, data.csv:COLUMN, images/."),
    ] = "",
    template: Annotated[
        str,
        typer.Option(
            "--template",
            "--criterion",
            help="Of your own task: classification (the default), regression, multilabel, segmentation, text (classes of texts), token_classification or language_modelling.",
        ),
    ] = "",
    epochs: Annotated[int, typer.Option(help="Of every run.", min=1, max=1_000_000)] = 20,
    trials: Annotated[int, typer.Option(help="Of the search.", min=1, max=1_000_000)] = 100,
    out: NewFiles = Path(),
    json: Json = False,
) -> None:
    """Write a commented study file, NAME.toml, and NAME_task.py for a model of your own; both run unchanged.

    Without --task and --template it asks, on a terminal.
    Examples: ablate init · ablate init income --task adult.csv:income · ablate init net --template text
    """
    from ablate.api.init_template import study_text, task_text
    from ablate.api.task_templates import TEMPLATES
    from ablate.records.errors import InputError
    from ablate.records.names import check_name

    check_name(name)
    if not task and not template and sys.stdin.isatty() and not json:
        task, template = _dialogue(tuple(TEMPLATES))
    task = task or OWN
    if task != OWN and template:
        raise InputError("--template is for a task of your own", hint=f"leave it out, or give --task {OWN}")
    template = template or DEFAULT
    if template not in TEMPLATES:
        raise InputError(f"there is no template '{template}'", hint=f"there are {', '.join(TEMPLATES)}")
    files = {}
    if task == OWN:
        module = f"{name.replace('-', '_').replace('.', '_')}_task.py"
        files[module] = task_text(module, template)
        task = f"{module}:task"
    study = f"{name}.toml"
    criterion = TEMPLATES[template].criterion
    files[study] = study_text(task, file=study, epochs=epochs, trials=trials, criterion=criterion)
    written = write_new(out, files)
    if json:
        print_json({"files": [str(path) for path in written]})
        return
    for path in written:
        typer.echo(f"written: {path}")
    typer.echo(f"see what it would do: ablate plan {written[-1]}; run it: ablate study {written[-1]}")


def _dialogue(templates: tuple[str, ...]) -> tuple[str, str]:
    """The task, and the template of the user's own (else ""), from a dialogue."""
    task = typer.prompt(
        "What do you train? own (a model of yours), digits, data.csv:COLUMN, or a folder of images",
        default=OWN, err=True,
    )  # fmt: skip
    if task != OWN:
        return str(task), ""
    return OWN, str(typer.prompt(f"Which template? {', '.join(templates)}", default=DEFAULT, err=True))
