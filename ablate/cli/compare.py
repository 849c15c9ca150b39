"""`ablate compare`: two recipes, paired seeds, sequential test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.options import (
    Epochs,
    Json,
    MachineOptions,
    Margin,
    Quiet,
    Seed,
    Studies,
    StudyOptions,
    Tricks,
    check_margin,
    grouped,
    options_of,
)
from ablate.cli.output import print_json

if TYPE_CHECKING:
    from ablate.ranking.estimation.compare import Comparison


@grouped
def compare(
    a: Annotated[Path, typer.Argument(metavar="A.toml", help="A recipe file.")],
    b: Annotated[Path, typer.Argument(metavar="B.toml", help="Another.")],
    task: Annotated[str, typer.Option(help="A task, or file.py:name.")] = "digits",
    margin: Margin = None,
    seed: Seed = None,
    epochs: Epochs = None,
    studies: Studies = Path("studies"),
    tricks: Tricks = None,
    *,
    machine: MachineOptions,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train two recipes on the same seeds, and stop as soon as one is shown to be better.

    A sequential paired test: five pairs, then five more at each look, twenty at most. Run it again to resume.
    Example: ablate compare reports/digits/recipe.toml mine.toml --task digits --margin 0.005
    """
    from dataclasses import replace

    from ablate.api.stages import open_study, shown_for
    from ablate.catalogue.own_tricks import using_tricks
    from ablate.catalogue.registry import registry
    from ablate.records.errors import InputError
    from ablate.study.compare import compare_recipes, document
    from ablate.study.recipes import read_recipe
    from ablate.study.resume import session_of
    from ablate.tasks.metric_table import unit_of

    check_margin(margin)
    wanted = StudyOptions(seed, epochs, studies, tricks=tricks)
    options = options_of(wanted, machine)
    opened = open_study(task, options, wanted.edits())
    with using_tricks(opened.tricks):
        one, other = (read_recipe(path, registry()) for path in (a, b))
    if one == other:
        raise InputError(f"{a} and {b} are the same recipe", hint="name two that differ")
    study = opened.study
    name = f"compare-{one.hash}-{other.hash}"
    opened = replace(opened, name=name, text=study.to_toml())
    metric = study.metric or opened.task.metric
    with (
        using_tricks(opened.tricks),
        shown_for(opened, quiet=quiet or json) as progress,
        session_of(opened, options, progress) as session,
    ):
        comparison = compare_recipes(session, one, other, margin)
    unit = unit_of(metric, opened.task.target_deviation)
    if json:
        print_json(document(comparison, metric, one, other))
        return
    typer.echo(
        f"{a} against {b}, {metric}{unit and f' in {unit}'}, {comparison.pairs} pairs: {_conclusion(comparison, str(a), str(b))} "
        f"(difference, positive where {a} is better: {comparison.effect:+.4f}, 95 % interval {comparison.low:+.4f} to {comparison.high:+.4f}; "
        f"each of {len(comparison.looks)} looks is tested at {comparison.level:.1%})"
    )
    if comparison.note:
        typer.echo(comparison.note)


def _conclusion(comparison: Comparison, a: str, b: str) -> str:
    """Which recipe is better and by how much, in words. `comparison.effect` > 0: A is better, whatever the metric's direction."""
    if comparison.verdict.startswith(("helps", "hurts")):
        better, other = (a, b) if comparison.effect > 0 else (b, a)
        return f"{better} is better than {other} by {abs(comparison.effect):.4g}"
    if comparison.verdict == "no measurable effect":
        return f"no difference of {comparison.margin:.3g} or more"
    return "undecided"
