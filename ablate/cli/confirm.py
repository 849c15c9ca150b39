"""`ablate confirm`: winner, baseline and drop-one recipes on fresh seeds and the test split."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.options import (
    Given,
    MachineOptions,
    Margin,
    OutputOptions,
    StudyOptions,
    check_margin,
    grouped,
    options_of,
    preload_workers,
)
from ablate.cli.output import print_json

if TYPE_CHECKING:
    from ablate.records.study import StudyFile


@grouped
def confirm(
    given: Given = "digits",
    around: Annotated[
        str,
        typer.Option(help="The winner: best, baseline, or a recipe file (default: what was ranked last)."),
    ] = "",
    seeds: Annotated[int | None, typer.Option(help="Paired fresh seeds.", min=2, max=1000)] = None,
    margin: Margin = None,
    *,
    study: StudyOptions,
    machine: MachineOptions,
    output: OutputOptions,
) -> None:
    """Train the winner, the baseline, and the winner without each trick that helps, on paired fresh seeds.

    The test split is used only here. The winner is the recipe that the last ranking recommends; after an
    array, the recipe that was ranked. More seeds later keep those that are done. Run it again to resume.
    Examples: ablate confirm digits · ablate confirm my.toml --seeds 10
    """
    given = study.of(given)
    preload_workers(given, study.studies, machine)
    from ablate.api.stages import open_study, run_stages
    from ablate.api.terminal import show

    check_margin(margin)

    def change(file: StudyFile) -> StudyFile:
        settings = file.rank
        return replace(
            file,
            rank=replace(settings, margin=settings.margin if margin is None else margin),
            confirm=replace(
                file.confirm, seeds=seeds or file.confirm.seeds, around=around or file.confirm.around
            ),
        )

    options = options_of(study, machine, output)
    opened = open_study(given, options, study.edits(), change)
    done = run_stages(opened, options, ["confirm", "report"], quiet=output.silent)
    if output.json:
        print_json(done.document)
    else:
        show(done)
