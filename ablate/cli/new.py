"""`ablate new`: files to start from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.options import Json, NewFiles
from ablate.cli.output import print_json

KINDS = ("trick",)


def new(
    kind: Annotated[str, typer.Argument(metavar="trick", help="What to create: trick.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, lower case: my_trick.")],
    seam: Annotated[
        str,
        typer.Option(help="Where it acts: gradient, criterion, model, optimizer, schedule or data."),
    ] = "gradient",
    out: NewFiles = Path(),
    json: Json = False,
) -> None:
    """Write a working trick of a seam with its test; change it, and use it with --tricks.

    gradient: a change of gradients; criterion: of the loss or the target; model: surgery; optimizer: an update rule;
    schedule: of the learning rate; data: a change of batches.
    Examples: ablate new trick my_trick · ablate new trick my_loss --seam criterion · ablate study --tricks my_trick.py · pytest test_my_trick.py
    """
    from ablate.api.trick_template import trick_files
    from ablate.catalogue.registry import registry
    from ablate.records.errors import InputError, unknown

    if kind not in KINDS:
        raise unknown("kind of file", kind, KINDS)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise InputError(f"'{name}' cannot name a trick", hint="use lower-case letters, digits and '_'")
    if name in registry():
        raise InputError(f"there already is a trick '{name}'", hint="choose another name")
    written = write_new(out, trick_files(name, seam))
    if json:
        print_json({"files": [str(path) for path in written]})
        return
    for path in written:
        typer.echo(f"written: {path}")
    typer.echo(f"try it: ablate plan --tricks {written[0]}; test it: pytest {written[1]}")


def write_new(folder: Path, files: dict[str, str]) -> list[Path]:
    """Write files that must not exist yet. Raises InputError, before anything is written."""
    from ablate.records.errors import InputError
    from ablate.records.files import write_text
    from ablate.study.preflight import check_folder

    check_folder(folder, "--out")
    for name in files:
        if (folder / name).exists():
            raise InputError(f"{folder / name} already exists", hint="name another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_text(folder / name, text)
    return [folder / name for name in files]
