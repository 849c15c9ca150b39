"""`ablate tasks`: the built-in tasks, and the card of a task."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ablate.cli.options import Json
from ablate.cli.output import print_json
from ablate.cli.table_target import Target, with_target

MOST_CLASSES = 20
"""With more classes than this, the card shows the smallest and the largest count only."""


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
    from ablate.tasks.describe import describe, inputs_text
    from ablate.tasks.load import load

    task = load(name)
    warnings = check(task)
    about = describe(task)
    if json:
        print_json(about)
        return
    for line in (*card_lines(about, inputs_text(task)), *(f"warning: {text}" for text in warnings)):
        typer.echo(line)


def card_lines(about: dict[str, Any], inputs: str) -> list[str]:
    """The facts of `describe` as text, a line each and one for every note. `inputs`: the inputs of an example in words."""
    lines = []
    for key, value in about.items():
        if value in ("", None, [], ()):
            continue
        if key == "notes":
            lines += [f"note: {note}" for note in value]
        elif key == "input_shape":
            lines.append(f"inputs: {inputs}")
        elif key == "class_counts":
            counts = (f"{where} {_counts_text(each)}" for where, each in value.items())
            lines.append(f"examples of each class: {'; '.join(counts)}")
        elif isinstance(value, dict):
            lines.append(f"{key}: {', '.join(f'{name} {number}' for name, number in value.items())}")
        elif isinstance(value, list):
            lines.append(f"{key}: {', '.join(map(str, value))}")
        else:
            lines.append(f"{key}: {value}")
    return lines


def _counts_text(counts: list[int]) -> str:
    if len(counts) <= MOST_CLASSES:
        return ", ".join(map(str, counts))
    return f"{min(counts)} to {max(counts)}, in {len(counts)} classes"
