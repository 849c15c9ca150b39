"""`ablate compare`: two recipes, paired seeds, until it is decided."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.common import (
    Device,
    Epochs,
    ExecutorName,
    Json,
    Lanes,
    Quiet,
    Seed,
    Studies,
    Workers,
    check_margin,
    print_json,
)


def compare(
    a: Annotated[Path, typer.Argument(metavar="A.toml", help="A recipe file.")],
    b: Annotated[Path, typer.Argument(metavar="B.toml", help="Another.")],
    task: Annotated[str, typer.Option(help="A task, or file.py:name.")] = "digits",
    margin: Annotated[
        float | None, typer.Option(help="Smallest difference that matters, in the metric's units.")
    ] = None,
    seed: Seed = None,
    epochs: Epochs = None,
    device: Device = "auto",
    lanes: Lanes = 0,
    workers: Workers = 0,
    executor: ExecutorName = "auto",
    studies: Studies = Path("studies"),
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train two recipes on the same seeds, and stop when it is decided which is better.

    A sequential paired test: five pairs, then five more at each look, twenty at most. Run it again to resume.
    Example: ablate compare reports/digits/recipe.toml mine.toml --task digits --margin 0.005
    """
    from dataclasses import replace

    from ablate.catalogue.registry import registry
    from ablate.cli.progress import Shown
    from ablate.cli.running import changed
    from ablate.records.errors import InputError
    from ablate.study.compare import compare_recipes, document
    from ablate.study.recipes import read_recipe
    from ablate.study.resume import Options, find, session_of

    check_margin(margin)
    one, other = (read_recipe(path, registry()) for path in (a, b))
    if one == other:
        raise InputError(f"{a} and {b} are the same recipe", hint="name two that differ")
    options = Options(studies, device=device, lanes=lanes, workers=workers, executor=executor)
    opened = find(task, options)
    study = changed(opened.study, None, seed, epochs)
    name = f"compare-{one.hash}-{other.hash}"
    opened = replace(opened, name=name, study=study, text=study.to_toml())
    metric = study.metric or opened.task.metric
    shown = Shown(metric, higher=opened.task.direction == "higher", quiet=quiet or json)
    with shown as progress, session_of(opened, options, progress) as session:
        found = compare_recipes(session, one, other, margin)
    if json:
        print_json(document(found, metric, one, other))
        return
    typer.echo(
        f"{a.name} against {b.name}, {metric}: {found.effect:+.4f} [{found.low:+.4f}, {found.high:+.4f}] "
        f"({found.level:.0%}), {found.pairs} pairs: {found.verdict}"
    )
    if found.note:
        typer.echo(found.note)
