"""`ablate rank`: the designed ablation alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.options import (
    Around,
    ArrayOptions,
    DesignName,
    Given,
    MachineOptions,
    Margin,
    OutputOptions,
    SpaceOptions,
    StudyOptions,
    check_margin,
    grouped,
    options_of,
    preload_workers,
)
from ablate.cli.output import print_json
from ablate.cli.table_options import ExternalRequest

if TYPE_CHECKING:
    from ablate.records.study import StudyFile


@grouped
def rank(
    given: Given = "digits",
    around: Around = "",
    design: DesignName = "",
    budget: Annotated[
        str, typer.Option(help='Of the tuned design: "10m", "90s", "2h" or "2000runs" (default: chosen).')
    ] = "",
    margin: Margin = None,
    force: Annotated[bool, typer.Option(help="Continue if a gate of lr-find fails.")] = False,
    *,
    array: ArrayOptions,
    external: ExternalRequest,
    study: StudyOptions,
    space: SpaceOptions,
    machine: MachineOptions,
    output: OutputOptions,
) -> None:
    """Give each trick a signed effect, an interval and a verdict, from runs that are designed for it.

    Finds a learning rate first where none is known; --around best needs a search (ablate study).
    With --table it ranks the runs of any CSV, balanced or not; failed runs are counted (docs/tables.md). With
    --optuna it shows exploratory effects from the trials of an Optuna study, next to Optuna's importances.
    The default tunes every trick by the same rule, on the baseline and in the recipe, and races it against its reference
    on paired seeds; ablate plan shows what it will run, and when another design is better.
    Examples: ablate rank digits --around baseline · ablate rank my_task.py:task --around baseline --include dropout,mixup · ablate rank my.toml --budget 10m --margin 0.005
    · ablate rank --table runs.csv --factors dropout,mixup --metric accuracy · ablate rank --optuna sqlite:///x.db
    """
    check_margin(margin)
    if external.is_given(margin):
        from ablate.cli.tables import rank_external

        rank_external(external, margin, study.name, output)
        return
    given = study.of(given)
    preload_workers(given, study.studies, machine)
    from ablate.api.design import check_options, checked_design
    from ablate.api.stages import open_study, run_ranking
    from ablate.api.terminal import show
    from ablate.records.study_rank import check_rates

    def change(file: StudyFile) -> StudyFile:
        settings = file.rank
        kind = checked_design(design) or settings.design
        check_options(kind, budget, {"--waves": array.waves, "--retune": array.retune})
        return replace(
            file,
            rank=replace(
                settings, around=around or settings.around, margin=settings.margin if margin is None else margin,
                waves=array.waves or settings.waves, design=kind, budget=budget.strip() or settings.budget,
                retune=settings.retune if array.retune is None else check_rates(array.retune, "--retune"),
            ),
        )  # fmt: skip

    options = options_of(study, machine, output)
    opened = open_study(given, options, study.edits(choice=space), change)
    done = run_ranking(opened, options, force=force, quiet=output.silent)
    if output.json:
        print_json(done.document)
    else:
        show(done)
