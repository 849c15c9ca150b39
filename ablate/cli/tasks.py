"""`ablate tasks`: the built-in tasks, and the card of a task."""

from __future__ import annotations

from typing import Annotated

import typer

from ablate.cli.options import Json
from ablate.cli.output import print_json
from ablate.cli.table_target import Target, with_target


def tasks(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="A task or file.py:name, for its card (loads torch).")
    ] = "",
    target: Target = "",
    json: Json = False,
) -> None:
    """List the built-in tasks, or describe one: shapes, splits, classes, parameters, metric.

    Examples: ablate tasks · ablate tasks digits · ablate tasks my_task.py:task --json · ablate tasks data.csv --target income
    """
    name = with_target(name, target)
    if not name:
        from dataclasses import asdict

        from ablate.tasks.task_cards import CARDS

        if json:
            print_json([asdict(card) for card in CARDS.values()])
            return
        width = max(map(len, CARDS))
        for key, card in CARDS.items():
            typer.echo(f"{key:<{width}}  {card.title}")
        return
    from ablate.tasks.check import check
    from ablate.tasks.describe import describe
    from ablate.tasks.load import load

    task = load(name)
    check(task)
    about = describe(task)
    if json:
        print_json(about)
        return
    for key, value in about.items():
        if value not in ("", None, [], ()):
            typer.echo(f"{key}: {value}")
