"""`ablate lr-find`: the six-step protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.common import (
    Device,
    Epochs,
    ExecutorName,
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
    Workers,
    begin_workers,
    print_json,
)


def lr_find(
    given: Annotated[
        str, typer.Argument(metavar="[TASK]", help="A task, file.py:name, or a study file.")
    ] = "digits",
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
    force: Annotated[bool, typer.Option(help="Go on where a gate fails.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Find a sound learning rate and weight decay in six steps, each a gate with a verdict.

    Exit code 0 when all steps pass or warn, 1 when one fails.
    Examples: ablate lr-find · ablate lr-find my_task.py:task --json
    """
    begin_workers(given, studies, executor, device, workers)
    from ablate.cli.running import run_stages
    from ablate.cli.steps import show_steps
    from ablate.records.errors import AblateError, InputError

    page: Path | None = None
    try:
        told = run_stages(
            given, ["lr-find", "report"], seed=seed, epochs=epochs, device=device, lanes=lanes, workers=workers,
            executor=executor, kernel=kernel, memory=memory, profile=profile,
            studies=studies, name=name, out=out, force=force, quiet=quiet or json,
        )  # fmt: skip
        document, page = told.data.lr_find or {}, told.page
    except InputError:
        raise
    except AblateError:
        document = stored(given, studies, name)
        if not document:
            raise
    if json:
        print_json(document)
    else:
        show_steps(document)
        if page is not None:
            typer.echo(f"report: {page}")
    if any(step["verdict"] == "fail" for step in document["steps"]):
        raise typer.Exit(1)


def stored(given: str, studies: Path, name: str = "") -> dict:  # type: ignore[type-arg]
    """The protocol's document in the ledger of the study; empty where there is none."""
    from ablate.ledger.store import Ledger
    from ablate.study.resume import Options, find

    name = name or find(given, Options(studies)).name
    with Ledger.open(studies / f"{name}.db", write=False) as ledger:
        return ledger.fact("lr-find") or {}
