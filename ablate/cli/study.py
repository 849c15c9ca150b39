"""`ablate study`: the main job."""

from __future__ import annotations

from typing import Annotated

import typer

from ablate.cli.options import (
    ChoiceOptions,
    Given,
    MachineOptions,
    OutputOptions,
    StudyOptions,
    Trials,
    grouped,
    options_of,
    preload_workers,
)
from ablate.cli.output import print_json


@grouped
def study(
    given: Given = "digits",
    trials: Trials = None,
    stages: Annotated[
        str, typer.Option(help="Which stages, by commas: lr-find,search,rank,confirm,costs,report.")
    ] = "",
    budget: Annotated[
        str,
        typer.Option(
            help='Of the study: "10m", "90s" or "2h", of which the ranking gets what the other stages leave; '
            '"2000runs" limits the ranking alone (default: chosen).'
        ),
    ] = "",
    resume_from: Annotated[
        str,
        typer.Option(
            help="Another study (its name, or its ledger's path) whose best recipes a new search tries first."
        ),
    ] = "",
    force: Annotated[bool, typer.Option(help="Continue if a gate of lr-find fails.")] = False,
    *,
    study: StudyOptions,
    choice: ChoiceOptions,
    machine: MachineOptions,
    output: OutputOptions,
) -> None:
    """Find a learning rate, search, rank every trick, confirm, report. Run it again to resume.

    Examples: ablate study · ablate study my_task.py:task --budget 5m · ablate study my_task.py:task --include mixup,dropout,remove_norm --budget 3m
    · ablate study data.csv --target income --metric auroc
    """
    given = study.of(given)
    preload_workers(given, study.studies, machine)
    from dataclasses import replace

    from ablate.api.stages import open_study, run_stages
    from ablate.api.terminal import show

    chosen = [stage.strip() for stage in stages.split(",")] if stages else []
    options = replace(options_of(study, machine, output), resume_from=resume_from)
    opened = open_study(given, options, study.edits(trials, choice))
    done = run_stages(opened, options, chosen, budget=budget, force=force, quiet=output.silent)
    if output.json:
        print_json(done.document)
    else:
        show(done)
