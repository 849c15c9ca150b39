"""`ablate compare`: two recipes, paired seeds, until it is decided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from ablate.ranking.estimation.compare import Comparison


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
        f"{a} against {b}, {metric}, {found.pairs} pairs: {_conclusion(found, str(a), str(b))} "
        f"(difference, positive where {a} is better: {found.effect:+.4f} [{found.low:+.4f}, {found.high:+.4f}], {found.level:.0%})"
    )
    if found.note:
        typer.echo(found.note)


def _conclusion(found: Comparison, a: str, b: str) -> str:
    """Which recipe is better and by how much, in words. `found.effect` is A's advantage, whatever the metric's direction."""
    if found.verdict in ("helps", "hurts"):
        better, other = (a, b) if found.effect > 0 else (b, a)
        return f"{better} is better than {other} by {abs(found.effect):.4g}"
    if found.verdict == "no measurable effect":
        return f"no difference of {found.margin:.3g} or more"
    return "undecided"
