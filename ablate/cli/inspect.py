"""`ablate inspect`: a task's model, layer by layer, and what the tricks would change in it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ablate.cli.options import Json, Tricks
from ablate.cli.output import print_json
from ablate.cli.table_target import Target, with_target

HEADS = ("layer", "type", "output", "field", "parameters", "multiply-adds", "activation", "gradient", "dead")


def inspect(
    name: Annotated[str, typer.Argument(metavar="TASK", help="A task's name, or file.py:name.")],
    target: Target = "",
    tricks: Tricks = None,
    with_: Annotated[
        list[str] | None, typer.Option("--with", help="Show the layers with this trick of the model in.")
    ] = None,
    json: Json = False,
) -> None:
    """Show a model's layers, its norms and activations, which tricks apply, and its gradients at initialisation; trains nothing.

    Field: the extent of the receptive field, up to the input's border. Activation, gradient: root mean squares of a
    layer's output and of its gradient, on one batch, without the tricks of --with. Dead: share of units that are zero for the whole batch.
    Gradients vanish or explode where their norms, over all of a layer's outputs, differ a thousandfold between the first and the last weighted layer.

    Examples: ablate inspect digits · ablate inspect digits --with deformable_conv · ablate inspect my_task.py:task --json · ablate inspect data.csv --target income
    """
    import torch

    from ablate.catalogue.own_tricks import own_tricks, using_tricks
    from ablate.catalogue.registry import registry
    from ablate.lanes.context import TaskContext
    from ablate.lanes.device import one_thread
    from ablate.lanes.inspection import inspection
    from ablate.tasks.check import check
    from ablate.tasks.describe import inputs_text
    from ablate.tasks.load import load

    name = with_target(name, target)
    with one_thread(), using_tricks(own_tricks(tricks or ())):
        task = load(name)
        check(task)
        report = inspection(TaskContext.of(task, registry(), torch.device("cpu")), with_ or ())
    if json:
        print_json(report)
        return
    for line in lines_of(report, inputs_text(task)):
        typer.echo(line)


def lines_of(report: dict[str, Any], inputs: str) -> list[str]:
    """The document of `inspection` as text. `inputs`: the inputs of an example in words."""
    lines = [
        f"{report['task']}: input {inputs}, {report['parameters']:,} parameters, {report['multiply_adds']:,} multiply-adds per example",
        "",
        *table([HEADS, *map(_row, report["layers"])]),
        "",
        f"at initialisation, on {report['signal']['examples']} examples: {report['signal']['verdict']}",
        f"the model has {report['held']['text']}",
        "",
        "tricks that change it:",
    ]
    tricks = report["tricks"]
    acting = {name: trick["text"] for name, trick in tricks.items() if trick["text"]}
    lines += [f"  {name} touches {text}" for name, text in acting.items()]
    refused = {name: trick["why_not"] for name, trick in tricks.items() if trick["why_not"]}
    if refused:
        lines += ["not applicable:", *(f"  {name}: {why}" for name, why in refused.items())]
    others = [name for name, trick in tricks.items() if not trick["why_not"] and name not in acting]
    return [*lines, f"{len(others)} more apply, outside the model: {', '.join(others)}"]


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Aligned columns: the first three to the left, numbers to the right; empty columns are left out."""
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    left = {*HEADS[:3]}
    widths = [max(map(len, column)) for column in columns]
    aligned = [
        [f"{cell:<{width}}" if column[0] in left else f"{cell:>{width}}" for cell in column]
        for column, width in zip(columns, widths, strict=True)
    ]
    return ["  ".join(cells).rstrip() for cells in zip(*aligned, strict=True)]


def _row(layer: dict[str, Any]) -> tuple[str, ...]:
    activation, gradient, dead = layer["activation_rms"], layer["gradient_rms"], layer["dead_units"]
    return (
        layer["path"] or "(the model)",
        layer["kind"],
        "×".join(map(str, layer["output"])),
        "×".join(map(str, layer["receptive_field"])),
        f"{layer['parameters']:,}" if layer["parameters"] else "",
        f"{layer['multiply_adds']:,}" if layer["multiply_adds"] else "",
        "" if activation is None else f"{activation:.2g}",
        "" if not gradient else f"{gradient:.1e}",
        "" if dead is None else f"{dead:.0%}",
    )
