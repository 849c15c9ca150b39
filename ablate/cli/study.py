"""`ablate study`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.common import (
    Device,
    Epochs,
    ExecutorName,
    Given,
    Json,
    Kernel,
    Lanes,
    Memory,
    Name,
    Out,
    Profile,
    Quiet,
    Seed,
    Studies,
    Trials,
    Workers,
    begin_workers,
    print_json,
)


def study(
    given: Given = "digits",
    trials: Trials = None,
    stages: Annotated[
        str, typer.Option(help="Which stages, by commas: lr-find,search,rank,confirm,costs,report.")
    ] = "",
    budget: Annotated[
        str,
        typer.Option(
            help='Of the study: "10m", "90s" or "2h", of which ranking gets what the other stages leave; '
            '"2000runs" counts for ranking alone (default: chosen).'
        ),
    ] = "",
    seed: Seed = None,
    epochs: Epochs = None,
    device: Device = "auto",
    lanes: Lanes = 0,
    workers: Workers = 0,
    executor: ExecutorName = "auto",
    kernel: Kernel = "auto",
    memory: Memory = 0.0,
    profile: Profile = False,
    studies: Studies = Path("studies"),
    name: Name = "",
    out: Out = Path("reports"),
    force: Annotated[bool, typer.Option(help="Go on where a gate of lr-find fails.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Find a learning rate, search, rank every trick, confirm, report. Run it again to resume.

    Examples: ablate study · ablate study --trials 200 --budget 10m · ablate study my_task.py:task --stages search,rank
    """
    begin_workers(given, studies, executor, device, workers)
    from ablate.cli.running import run_stages

    chosen = [stage.strip() for stage in stages.split(",")] if stages else []
    told = run_stages(
        given, chosen, trials=trials, seed=seed, epochs=epochs, device=device, lanes=lanes, workers=workers,
        executor=executor, kernel=kernel, memory=memory, profile=profile,
        studies=studies, name=name, out=out, force=force, quiet=quiet or json,
        budget=budget,
    )  # fmt: skip
    if json:
        print_json(told.document)
    else:
        told.show()
