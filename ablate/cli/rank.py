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
    table: Annotated[
        Path | None, typer.Option(help="Rank the runs of a CSV that another program made; trains nothing.")
    ] = None,
    factors: Annotated[str, typer.Option(help="With --table: columns that are tricks, by commas.")] = "",
    metric: Annotated[str, typer.Option(help="With --table: the column that a run is judged by.")] = "",
    lower: Annotated[bool, typer.Option(help="With --table: lower is better.")] = False,
    seed_column: Annotated[str, typer.Option(help="With --table: the column of seeds that runs share.")] = "",
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
    With --table it ranks the runs of any CSV, one row a run, balanced or not; failed runs are counted.
    Examples: ablate rank digits --around baseline · ablate rank my.toml --margin 0.005
    · ablate rank --table runs.csv --factors dropout,mixup --metric accuracy
    """
    from ablate.cli.running import run_stages
    from ablate.records.errors import InputError

    if margin is not None and not margin > 0:
        raise InputError(f"--margin must be above zero, not {margin}", hint="leave it out for 'auto'")
    if table is not None:
        from ablate.cli.tables import rank_table

        names = [name.strip() for name in factors.split(",") if name.strip()]
        rank_table(table, names, metric, lower=lower, seed=seed_column, margin=margin, out=out, json=json)
        return

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
