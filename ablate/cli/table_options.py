"""Options of `ablate rank` for runs of another program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ablate.records.errors import InputError

TablePath = Annotated[
    Path | None,
    typer.Option("--table", help="Rank the runs in a CSV of another program; trains nothing."),
]
Factors = Annotated[str, typer.Option(help="With --table: columns that are tricks, by commas.")]
Metric = Annotated[str, typer.Option(help="With --table: the column of the metric.")]
Lower = Annotated[
    bool | None,
    typer.Option(
        "--lower/--no-lower",
        help="With --table: lower is better.",
        show_default="no, unless the metric's name asks",
    ),
]
SeedColumn = Annotated[str, typer.Option(help="With --table: the column of seeds that runs share.")]
Tune = Annotated[
    str,
    typer.Option(
        help="With --table: nuisance columns (a learning rate); each arm is judged at its best value, chosen on other runs."
    ),
]
Block = Annotated[
    str,
    typer.Option(
        help="With --table: the column of tasks; an effect in each; the interval includes their scatter."
    ),
]
FinishedWords = Annotated[
    str,
    typer.Option(
        "--finished", metavar="[COLUMN=]WORDS",
        help="With --table: states of runs that ended well (1,COMPLETE), or any.",
    ),
]  # fmt: skip
RunColumns = Annotated[
    str,
    typer.Option(
        "--run",
        help="With --table: columns that identify a run with several rows (the last counts); or none.",
    ),
]
EpochColumn = Annotated[
    str, typer.Option("--epoch", help="With --table: the column of the step within a run.")
]
Collapse = Annotated[
    float | None,
    typer.Option(help="With --table: a metric this bad or worse (a penalty, chance level) is a failed run."),
]
OptunaStorage = Annotated[
    str,
    typer.Option(
        "--optuna", help="Rank the trials of an Optuna storage (sqlite:///x.db, a file); read only."
    ),
]
OptunaStudy = Annotated[str, typer.Option(help="With --optuna: which study, if there are several.")]
Encodings = Annotated[
    str,
    typer.Option(
        "--as",
        help="With --table or --optuna: COLUMN=slope, linear, log, levels, split or split:0.1; by commas.",
    ),
]


@dataclass(frozen=True)
class ExternalRequest:
    """The values of the options. Columns are names, separated by commas; "" if an option was not given."""

    table: TablePath = None
    factors: Factors = ""
    metric: Metric = ""
    lower: Lower = None
    seed_column: SeedColumn = ""
    tune: Tune = ""
    block: Block = ""
    finished: FinishedWords = ""
    run: RunColumns = ""
    epoch: EpochColumn = ""
    collapse: Collapse = None
    optuna: OptunaStorage = ""
    optuna_study: OptunaStudy = ""
    encodings: Encodings = ""

    def is_given(self, margin: float | None) -> bool:
        """Whether runs of another program are to be ranked. Raises InputError for incompatible options."""
        of_table = {
            "--factors": self.factors, "--metric": self.metric, "--lower": self.lower, "--seed-column": self.seed_column,
            "--tune": self.tune, "--block": self.block, "--finished": self.finished, "--run": self.run, "--epoch": self.epoch,
            "--collapse": self.collapse is not None,
        }  # fmt: skip
        if self.table is not None and self.optuna:
            raise InputError("--table and --optuna are two sources of runs", hint="give one of them")
        if self.optuna and (any(of_table.values()) or margin is not None):
            raise InputError(
                "--optuna knows parameters, objective and direction itself, and gives no verdicts",
                hint="leave out --factors, --metric, --lower, --margin and the other options of --table",
            )
        if self.table is None and not self.optuna:
            if self.optuna_study or self.encodings:
                raise InputError(
                    "--optuna-study and --as go with --optuna or --table", hint="name the source of runs"
                )
            if alone := next((name for name, value in of_table.items() if value), None):
                raise InputError(f"{alone} goes with --table", hint="name the CSV of runs")
            return False
        return True


def columns(text: str) -> list[str]:
    """The names in `a,b,c`."""
    return [name.strip() for name in text.split(",") if name.strip()]
