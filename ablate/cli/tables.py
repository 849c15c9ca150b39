"""`ablate rank --table` and `--optuna`: the ranking of runs that another program trained."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from ablate.cli.common import print_json
from ablate.ranking.estimation.coding import lines
from ablate.ranking.tables.csv_reader import outcomes, read_table
from ablate.ranking.tables.external import analyse_table
from ablate.ranking.tables.factors import WAYS
from ablate.ranking.tables.trials import explore_trials
from ablate.ranking.verdicts.ranking_table import ranking_table
from ablate.records.errors import InputError
from ablate.records.names import MAX_LENGTH, check_name
from ablate.report.build import build_outside, plain_rows
from ablate.report.clean import mask_secrets
from ablate.report.outside import Outside
from ablate.search.storages import read_trials


def rank_table(
    path: Path,
    factors: Sequence[str],
    metric: str,
    *,
    lower: bool,
    seed: str,
    margin: float | None,
    ways: Mapping[str, str],
    out: Path,
    json: bool,
) -> None:
    """Analyse the CSV at `path` (one row a run), print the ranking, write its report to `OUT/NAME/`.

    Raises InputError for a file that cannot be read and for every wrong column.
    """
    if not metric:
        raise InputError("--table needs --metric", hint="name the column that a run is judged by")
    frame, notes = read_table(path)
    direction = "lower" if lower else "higher"
    found = analyse_table(frame, factors, metric, direction, seed or None, margin, ways=ways)
    states = outcomes(frame, None)
    rows = [
        {"run": str(line), "outcome": state, **{n: _plain(row[n]) for n in (*factors, metric)}}
        for line, state, row in zip(frame.index, states, lines(frame), strict=True)
    ]
    tell(
        Outside(
            "table", name_of(path.stem), str(path), metric, direction, ranking_table(average=found.table), rows,
            {"runs": found.runs, "used": found.used, "failed": found.failed, "excluded": found.excluded},
            (*notes, *found.warnings), found, (), command(),
        ),
        out,
        json=json,
    )  # fmt: skip


def rank_trials(storage: str, study: str, *, ways: Mapping[str, str], out: Path, json: bool) -> None:
    """What the trials of an Optuna study suggest about its parameters: printed, and reported in `OUT/NAME/`."""
    trials = read_trials(storage, study)
    found = explore_trials(
        trials.rows, trials.metric, trials.direction, choices=trials.choices, log=trials.log, ways=ways
    )
    ranking = ranking_table(exploratory=found.table)
    parameters = sorted([*trials.choices, *trials.log])
    rows = [
        {"run": str(row["trial"]), "outcome": row["outcome"], **{n: row.get(n) for n in (*parameters, trials.metric)}}
        for row in trials.rows
    ]  # fmt: skip
    told = (*found.warnings, *([trials.without] if trials.without else []))
    tell(
        Outside(
            "optuna", name_of(trials.study), f"{mask_secrets(storage)}, study '{trials.study}'", trials.metric,
            trials.direction, ranking, rows, found.counts, told, None, trials.importances, mask_secrets(command()),
        ),
        out,
        json=json,
    )  # fmt: skip


def tell(found: Outside, out: Path, *, json: bool) -> None:
    """Write the report, then print what came out."""
    folder = out / found.name
    page = build_outside(found, folder)
    counts = found.counts
    if json:
        print_json(document(found, folder / "ranking.csv", page))
        return
    sigma = f"; σ {found.analysis.sigma:.4g}" if found.analysis else ""
    typer.echo(
        f"{counts['used']} runs used of {counts['runs']}, {counts['failed']} failed, {counts['excluded']} left out{sigma}"
    )
    for warning in found.warnings:
        typer.echo(f"note: {warning}")
    show(found)
    typer.echo(f"ranking: {folder / 'ranking.csv'}")
    typer.echo(f"report: {page}")


def show(found: Outside) -> None:
    """The ranking as a table; Optuna's importance beside each parameter where there is one."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shares = {row["parameter"]: row["importance"] for row in found.importances}
    sums = {row["trick"]: row["trick_importance"] for row in found.importances}
    table = Table(box=None, pad_edge=False)
    columns = ["trick", "effect", "interval", "verdict", "runs", *(["importance"] if shares else [])]
    for column in columns:
        left = column in ("trick", "verdict")
        table.add_column(column, justify="left" if left else "right", no_wrap=column != "verdict")
    shown: set[str] = set()
    for row in lines(found.ranking):
        name = row["trick"]
        # A parameter's share stands once, however many levels it has.
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


def document(found: Outside, target: Path, page: Path) -> dict[str, Any]:
    """The answer of `--json`."""
    return {
        **{name: found.counts[name] for name in ("runs", "used", "failed", "excluded")},
        "kind": found.kind,
        "source": found.source,
        "metric": found.metric,
        "direction": found.direction,
        "sigma": found.analysis.sigma if found.analysis else None,
        "warnings": list(found.warnings),
        "ranking": plain_rows(found.ranking),
        "importances": [dict(row) for row in found.importances],
        "file": str(target),
        "report": str(page),
    }


def parse_ways(text: str) -> dict[str, str]:
    """`lr=split:0.1,depth=levels` as a mapping. Raises InputError."""
    ways = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, way = part.partition("=")
        if not equals or not name or not way:
            raise InputError(
                f"--as does not understand '{part}'", hint=f"write COLUMN=WAY, WAY being one of {', '.join(WAYS)}"
            )  # fmt: skip
        ways[name.strip()] = way.strip()
    return ways


def label(trick: str, level: str) -> str:
    return trick if level in ("on", "True", "1", "yes") else f"{trick}: {level}"


def name_of(text: str) -> str:
    """A safe folder name from a file's or a study's name."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:MAX_LENGTH]
    return check_name(safe or "table")


def command() -> str:
    return shlex.join(["ablate", *sys.argv[1:]])


def _number(value: float) -> str:
    return "–" if value != value else f"{value:+.4g}"


def _plain(value: Any) -> Any:
    return None if value != value else value
