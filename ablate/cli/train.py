"""`ablate train`: one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.options import Device, Json, Out, Quiet, Tricks
from ablate.cli.output import print_json
from ablate.cli.table_target import Target, with_target

if TYPE_CHECKING:
    from ablate.lanes.trace import EpochReport


def train(
    task: Annotated[str, typer.Argument(metavar="[TASK]", help="A task, or file.py:name.")] = "digits",
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe file; by default SGD with momentum at --lr.")
    ] = None,
    lr: Annotated[float, typer.Option(help="Learning rate if no recipe is given.")] = 0.05,
    seed: Annotated[int, typer.Option(help="The run's seed.", min=0, max=2**31 - 1)] = 0,
    epochs: Annotated[
        int | None, typer.Option(help="Budget; by default the task's.", min=1, max=1_000_000)
    ] = None,
    target: Target = "",
    device: Device = "auto",
    out: Out = Path("reports"),
    tricks: Tricks = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train one recipe once, with a line per epoch, and save the scored weights. Run it again to resume.

    Examples: ablate train digits --seed 3 · ablate train my_task.py:task --recipe recipe.toml
    """
    from ablate.catalogue.own_tricks import own_tricks, using_tricks
    from ablate.catalogue.registry import registry
    from ablate.records.recipe import Recipe
    from ablate.study.environment import device_of
    from ablate.study.recipes import read_recipe
    from ablate.study.single import train_single
    from ablate.tasks.check import check
    from ablate.tasks.load import load

    loaded = load(with_target(task, target))
    remarks = (*loaded.notes, *check(loaded))

    def show(report: EpochReport) -> None:
        if not quiet and not json:
            shown = {"train/loss", "validation/loss", loaded.metric}
            last = {name: lanes[0] for name, lanes in report.curves.items() if name in shown}
            if max(map(len, last.values())) == 1:
                for line in remarks:
                    typer.echo(f"note: {line}", err=True)
            values = ", ".join(f"{name} {curve[-1]:.4f}" for name, curve in last.items())
            typer.echo(f"epoch {max(map(len, last.values()))}: {values}", err=True)

    with using_tricks(own_tricks(tricks or ())):
        catalogue = registry()
        chosen = read_recipe(recipe, catalogue) if recipe else Recipe.of(catalogue, {"momentum": {"lr": lr}})
        done = train_single(
            loaded,
            chosen,
            seed=seed,
            epochs=epochs,
            device=device_of(device),
            folder=out / loaded.name,
            report=show,
            say=lambda line: None if quiet or json else typer.echo(line, err=True),
        )
    if json:
        print_json(
            {
                "run": done.run.identity, "task": done.run.task, "recipe": done.run.recipe.to_dict(),
                "seed": seed, "epochs": done.result.epochs, "outcome": str(done.result.outcome),
                "metrics": dict(done.result.metrics), "curves": {k: list(v) for k, v in done.result.curves.items()},
                "seconds": done.result.seconds, "weights": str(done.weights), "resumed_from_epoch": done.resumed,
                "notes": list(remarks),
            }
        )  # fmt: skip
        return
    for name, value in sorted(done.result.metrics.items()):
        typer.echo(f"{name}: {value:.4f}")
    typer.echo(f"weights: {done.weights}")
