"""`ablate rank --table` and `--optuna`: the ranking of runs of another program."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import typer

from ablate.cli.options import OutputOptions
from ablate.cli.output import print_json
from ablate.cli.table_options import ExternalRequest, columns
from ablate.ranking.estimation.coding import lines
from ablate.ranking.tables.csv_reader import read_table
from ablate.ranking.tables.external import TableAnalysis, TableOptions, analyse_runs
from ablate.ranking.tables.factors import ENCODINGS
from ablate.ranking.tables.run_states import parse_finished
from ablate.ranking.tables.trials import explore_trials
from ablate.ranking.verdicts.ranking_table import ranking_table
from ablate.records.addresses import shown_address, without_secrets
from ablate.records.errors import InputError
from ablate.records.names import MAX_LENGTH, check_name
from ablate.report.build import build_external, plain_rows
from ablate.report.external import ExternalRuns

LESS_IS_BETTER = {
    "loss",
    "error",
    "err",
    "mse",
    "rmse",
    "mae",
    "mape",
    "nll",
    "perplexity",
    "ppl",
    "fid",
    "wer",
    "cer",
    "ece",
}
"""Words in a metric's name that suggest that less is better."""


def rank_external(request: ExternalRequest, margin: float | None, name: str, output: OutputOptions) -> None:
    """Analyse a CSV or an Optuna study, print the ranking, write its report to `OUT/NAME/`.

    Raises InputError for what cannot be read and for every wrong column.
    """
    result = _optuna(request, name) if request.table is None else _table(request, request.table, name, margin)
    folder = output.out / result.name
    page = build_external(result, folder)
    if output.json:
        print_json(document(result, folder / "ranking.csv", page))
        return
    counts = result.counts
    sigma = f"; σ {result.analysis.sigma:.4g}" if result.analysis else ""
    typer.echo(
        f"{counts['used']} runs used of {counts['runs']}, {counts['failed']} failed, {counts['excluded']} left out{sigma}"
    )
    for warning in result.warnings:
        typer.echo(f"note: {warning}")
    print_ranking(result)
    typer.echo(f"ranking: {folder / 'ranking.csv'}")
    typer.echo(f"report: {page}")


def _table(request: ExternalRequest, path: Path, name: str, margin: float | None) -> ExternalRuns:
    if not request.metric:
        raise InputError("--table needs --metric", hint="name the column that a run is judged by")
    options = TableOptions(
        seed=request.seed_column, tune=tuple(columns(request.tune)), block=request.block, finished=parse_finished(request.finished),
        run=request.run, epoch=request.epoch, encodings=parse_encodings(request.encodings), margin=margin,
        collapse=request.collapse,
    )  # fmt: skip
    frame, notes = read_table(path)
    if request.lower is None and LESS_IS_BETTER & set(re.split(r"[^a-z]+", request.metric.lower())):
        hint = "say so with --lower, or --no-lower if more is better"
        raise InputError(f"'{request.metric}' sounds like a metric of which less is better", hint=hint)
    direction = "lower" if request.lower else "higher"
    result = analyse_runs(frame, columns(request.factors), request.metric, direction, options)
    analysis = result.analysis
    return ExternalRuns(
        "table", check_name(name) if name else name_of(path.stem), shown_address(str(path)), request.metric,
        direction, ranking_table(average=analysis.table), _run_columns(result, request.metric, options),
        {"runs": analysis.runs, "used": analysis.used, "failed": analysis.failed, "excluded": analysis.excluded},
        (*notes, *analysis.warnings), analysis, (), command(),
        _records(result.blocks and result.blocks.effects), _records(result.blocks and result.blocks.ranks),
        _records(result.tuning and result.tuning.choices),
    )  # fmt: skip


def _optuna(request: ExternalRequest, name: str) -> ExternalRuns:
    from ablate.search.storages import read_trials  # Optuna, which a table does not need

    trials = read_trials(request.optuna, request.optuna_study)
    result = explore_trials(
        trials.rows, trials.metric, trials.direction, choices=trials.choices, log=trials.log,
        encodings=parse_encodings(request.encodings),
    )  # fmt: skip
    parameters = sorted([*trials.choices, *trials.log])
    runs: dict[str, list[Any]] = {
        "run": [str(row["trial"]) for row in trials.rows],
        "outcome": [row["outcome"] for row in trials.rows],
        **{name: [row.get(name) for row in trials.rows] for name in (*parameters, trials.metric)},
    }
    return ExternalRuns(
        "optuna", check_name(name) if name else name_of(trials.study),
        f"{shown_address(request.optuna)}, study '{trials.study}'", trials.metric, trials.direction,
        ranking_table(exploratory=result.table), runs, result.counts, (*result.warnings, *trials.notes), None,
        trials.importances, command(request.optuna),
    )  # fmt: skip


def _run_columns(result: TableAnalysis, metric: str, options: TableOptions) -> dict[str, list[Any]]:
    """The runs as they were read, one value per run in each column."""
    columns = {"run": list(map(str, result.frame.index)), "outcome": list(result.outcomes)}
    for name in (*result.factors, *options.columns, metric):
        columns[name] = [None if value != value else value for value in result.frame[name].tolist()]
    return columns


def _records(table: Any) -> tuple[dict[str, Any], ...]:
    return () if table is None else tuple(lines(table))


def print_ranking(result: ExternalRuns) -> None:
    """The ranking as a table, with Optuna's importance of each parameter if available."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shares = {row["parameter"]: row["importance"] for row in result.importances}
    sums = {row["trick"]: row["trick_importance"] for row in result.importances}
    table = Table(box=None, pad_edge=False)
    columns = ["trick", "effect", "interval", "verdict", "runs", *(["importance"] if shares else [])]
    for column in columns:
        left = column in ("trick", "verdict")
        table.add_column(column, justify="left" if left else "right", no_wrap=column != "verdict")
    shown: set[str] = set()
    for row in lines(result.ranking):
        name = row["trick"]
        # a parameter's share is shown once, however many levels it has
        share = "" if name not in shares or name in shown else f"{shares[name]:.3f}"
        shown.add(name)
        cells = [escape(label(name, row["level"])), _number(row["effect"]),
                 escape(f"[{_number(row['low'])}, {_number(row['high'])}]"), row["verdict"], str(row["runs"])]  # fmt: skip
        table.add_row(*cells, *([share] if shares else []))
    console = Console(highlight=False)
    console.print(table)
    several = {trick: share for trick, share in sums.items() if trick not in shares or shares[trick] != share}
    if several:
        console.print(
            "importance by trick: " + ", ".join(f"{escape(t)} {s:.3f}" for t, s in several.items()),
            soft_wrap=True,
        )
    if result.ranks:
        ranks = Table(box=None, pad_edge=False)
        for column in ("level", "mean rank", "best in"):
            ranks.add_column(column, justify="left" if column == "level" else "right", no_wrap=True)
        for rank in result.ranks:
            ranks.add_row(
                escape(f"{rank['trick']}: {rank['level']}"),
                f"{rank['mean_rank']:.2f}",
                f"{rank['first']} of {rank['blocks']}",
            )
        console.print(ranks)


def document(result: ExternalRuns, target: Path, page: Path) -> dict[str, Any]:
    """The document of `--json`."""
    return {
        **{name: result.counts[name] for name in ("runs", "used", "failed", "excluded")},
        "kind": result.kind,
        "source": result.source,
        "metric": result.metric,
        "direction": result.direction,
        "sigma": result.analysis.sigma if result.analysis else None,
        "warnings": list(result.warnings),
        "ranking": plain_rows(result.ranking),
        "importances": [dict(row) for row in result.importances],
        "blocks": [dict(row) for row in result.blocks],
        "ranks": [dict(row) for row in result.ranks],
        "tuning": [dict(row) for row in result.tuning],
        "file": str(target),
        "report": str(page),
    }


def parse_encodings(text: str) -> dict[str, str]:
    """`lr=split:0.1,depth=levels` as a mapping. Raises InputError."""
    encodings = {}
    for part in columns(text):
        name, equals, encoding = part.partition("=")
        if not equals or not name or not encoding:
            raise InputError(
                f"--as does not understand '{part}'",
                hint=f"write COLUMN=ENCODING, one of {', '.join(ENCODINGS)}",
            )
        encodings[name.strip()] = encoding.strip()
    return encodings


def label(trick: str, level: str) -> str:
    """The name of a row: the trick, with its level unless that is "on"."""
    return trick if level in ("on", "True", "1", "yes") else f"{trick}: {level}"


def name_of(text: str) -> str:
    """A safe folder name from a file's or a study's name."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:MAX_LENGTH]
    return check_name(safe or "table")


def command(address: str = "") -> str:
    """The command line as it may be stored: without the secrets of `address` or of any other URL."""
    words = [without_secrets(word, address) if address else shown_address(word) for word in sys.argv[1:]]
    return shlex.join(["ablate", *words])


def _number(value: float) -> str:
    return "–" if value != value else f"{value:+.4g}"
