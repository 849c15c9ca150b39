"""`ablate rank`: the designed ablation alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.common import (
    DesignName,
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
from ablate.cli.table_options import (
    Block,
    Encodings,
    EpochColumn,
    ExternalRequest,
    Factors,
    FinishedWords,
    Lower,
    Metric,
    OptunaStorage,
    OptunaStudy,
    RunColumns,
    SeedColumn,
    TablePath,
    Tune,
)

if TYPE_CHECKING:
    from ablate.records.study import StudyFile


def rank(
    given: Given = "digits",
    around: Annotated[str, typer.Option(help="best, baseline, or a recipe file.")] = "",
    design: DesignName = "",
    budget: Annotated[
        str, typer.Option(help='Of the tuned design: "10m", "90s", "2h" or "2000runs" (default: chosen).')
    ] = "",
    margin: Margin = None,
    waves: Annotated[
        int | None, typer.Option(help="Most waves of runs of an array design.", min=1, max=3)
    ] = None,
    retune: Annotated[
        int | None,
        typer.Option(
            help="Array designs: learning rates tried for each arm of a trick that shifts the best one; 0: none."
        ),
    ] = None,
    table: TablePath = None,
    factors: Factors = "",
    metric: Metric = "",
    lower: Lower = False,
    seed_column: SeedColumn = "",
    tune: Tune = "",
    block: Block = "",
    finished: FinishedWords = "",
    run: RunColumns = "",
    epoch: EpochColumn = "",
    optuna: OptunaStorage = "",
    optuna_study: OptunaStudy = "",
    encodings: Encodings = "",
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
    """Give each trick a signed effect, an interval and a verdict, from runs that are designed for it.

    Needs a learning rate (stage lr-find) and, for --around best, a search; missing stages are named.
    With --table it ranks the runs of any CSV, balanced or not; failed runs are counted (docs/tables.md). With
    --optuna it shows what the trials of an Optuna study suggest, exploratory, beside Optuna's importances.
    The default tunes every trick at equal budget, on the baseline and in the recipe, and races it against its reference
    on paired seeds; ablate plan says what it will run, and when another design serves.
    Examples: ablate rank digits --around baseline · ablate rank my.toml --budget 10m --margin 0.005
    · ablate rank --table runs.csv --factors dropout,mixup --metric accuracy · ablate rank --optuna sqlite:///x.db
    """
    check_margin(margin)
    external = ExternalRequest(
        table, optuna, optuna_study, factors, metric, lower, seed_column, tune, block, finished, run, epoch, encodings,
        margin, name, out, json,
    )  # fmt: skip
    if external.given:
        from ablate.cli.tables import rank_external

        rank_external(external)
        return
    begin_workers(given, studies, executor, device, workers)
    from ablate.cli.design import check_options, checked_design
    from ablate.cli.running import run_stages
    from ablate.records.study_rank import check_rates

    def change(study: StudyFile) -> StudyFile:
        asked = study.rank
        kind = checked_design(design) or asked.design
        check_options(kind, budget, {"--waves": waves, "--retune": retune})
        return replace(
            study,
            rank=replace(
                asked, around=around or asked.around, margin=asked.margin if margin is None else margin,
                waves=waves or asked.waves, design=kind, budget=budget.strip() or asked.budget,
                retune=asked.retune if retune is None else check_rates(retune, "--retune"),
            ),
        )  # fmt: skip

    told = run_stages(
        given, ["rank", "report"], seed=seed, epochs=epochs, device=device, lanes=lanes, workers=workers,
        executor=executor, kernel=kernel, memory=memory, profile=profile,
        studies=studies, name=name, out=out, quiet=quiet or json, change=change,
    )  # fmt: skip
    if json:
        print_json(told.document)
    else:
        told.show()
