"""`ablate rank`: the designed ablation alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.common import (
    Device,
    Epochs,
    ExecutorName,
    Json,
    Lanes,
    Out,
    Quiet,
    Seed,
    Studies,
    Workers,
    print_json,
)

if TYPE_CHECKING:
    from ablate.records.study import StudyFile


def rank(
    given: Annotated[
        str, typer.Argument(metavar="[STUDY]", help="A study file, its name, a task, or file.py:name.")
    ] = "digits",
    around: Annotated[str, typer.Option(help="best, baseline, or a recipe file.")] = "",
    margin: Annotated[
        float | None, typer.Option(help="Smallest effect that matters, in the metric's units.")
    ] = None,
    waves: Annotated[int | None, typer.Option(help="Most waves of runs.", min=1, max=3)] = None,
    seed: Seed = None,
    epochs: Epochs = None,
    device: Device = "auto",
    lanes: Lanes = 0,
    workers: Workers = 0,
    executor: ExecutorName = "auto",
    studies: Studies = Path("studies"),
    out: Out = Path("reports"),
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Give each trick a signed effect, an interval and a verdict, from a designed array of runs.

    Needs a learning rate (stage lr-find) and, for --around best, a search; missing stages are named.
    Examples: ablate rank digits --around baseline · ablate rank my.toml --margin 0.005
    """
    from ablate.cli.running import run_stages
    from ablate.records.errors import InputError

    if margin is not None and not margin > 0:
        raise InputError(f"--margin must be above zero, not {margin}", hint="leave it out for 'auto'")

    def change(study: StudyFile) -> StudyFile:
        asked = study.rank
        return replace(
            study,
            rank=replace(
                asked, around=around or asked.around, margin=asked.margin if margin is None else margin,
                waves=waves or asked.waves,
            ),
        )  # fmt: skip

    told = run_stages(
        given, ["rank", "report"], seed=seed, epochs=epochs, device=device, lanes=lanes, workers=workers,
        executor=executor, studies=studies, out=out, quiet=quiet or json, change=change,
    )  # fmt: skip
    if json:
        print_json(told.document)
    else:
        told.show()
