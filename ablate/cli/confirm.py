"""`ablate confirm`: winner, baseline and drop-one recipes on fresh seeds and the test split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.common import (
    Device,
    Epochs,
    ExecutorName,
    Given,
    Json,
    Kernel,
    Lanes,
    Margin,
    Memory,
    Name,
    Out,
    Profile,
    Quiet,
    Seed,
    Studies,
    Workers,
    begin_workers,
    check_margin,
    print_json,
)

if TYPE_CHECKING:
    from ablate.records.study import StudyFile


def confirm(
    given: Given = "digits",
    around: Annotated[str, typer.Option(help="The winner: best, baseline, or a recipe file.")] = "",
    seeds: Annotated[int | None, typer.Option(help="Paired fresh seeds.", min=2, max=1000)] = None,
    margin: Margin = None,
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
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train the winner, the baseline, and the winner without each trick that helps, on paired fresh seeds.

    The test split is looked at here and nowhere else. Tricks that help are read off the ranking, if it is of
    this recipe. More seeds later keep those that are done. Run it again to resume.
    Examples: ablate confirm digits · ablate confirm my.toml --seeds 10
    """
    begin_workers(given, studies, executor, device, workers)
    from ablate.cli.running import run_stages

    check_margin(margin)

    def change(study: StudyFile) -> StudyFile:
        asked = study.rank
        return replace(
            study,
            rank=replace(
                asked, around=around or asked.around, margin=asked.margin if margin is None else margin
            ),
            confirm=replace(study.confirm, seeds=seeds or study.confirm.seeds),
        )

    told = run_stages(
        given, ["confirm", "report"], seed=seed, epochs=epochs, device=device, lanes=lanes, workers=workers,
        executor=executor, kernel=kernel, memory=memory, profile=profile,
        studies=studies, name=name, out=out, quiet=quiet or json, change=change,
    )  # fmt: skip
    if json:
        print_json(told.document)
    else:
        told.show()
