"""The report on runs of another program: a table, or the trials of an Optuna study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from platform import python_version
from typing import Any

import numpy as np
import pandas as pd

from ablate.ranking.estimation.analysis import Analysis
from ablate.ranking.estimation.coding import lines
from ablate.records.designs import AVERAGE, EXPLORATORY, Estimand
from ablate.records.document import Document
from ablate.report.clean import clean, clean_columns
from ablate.report.data import ReportData
from ablate.report.numbers import count, plural, significant

_STRONGEST = 6
DEFINITIONS: Mapping[Estimand, str] = {
    AVERAGE: "Adjusted effect: least squares on the runs of the table, each trick with the other columns held fixed. The runs were "
    "not designed by ablate: what was not randomised may stand behind an effect.",
    EXPLORATORY: "Exploratory: signed least squares on the trials of a search. A search usually chooses its trials by the results of "
    "earlier ones, so no verdict rests on these numbers.",
}


@dataclass(frozen=True, slots=True)
class ExternalRuns:
    """Finished runs of another program, ranked. `kind`: table | optuna. `source`: where they were read, without
    secrets. `runs`: columns `run, outcome`, factors and metric, one value per run. `counts`: runs, used, failed, excluded.
    `analysis`: for verdicts; None if effects are exploratory. `importances`: see `search.storages`. `blocks`,
    `ranks`: effects by block and ranks over blocks, see `ranking.tables.blocks`; `tuning`: see `ranking.tables.tuned`."""

    kind: str
    name: str
    source: str
    metric: str
    direction: str
    ranking: pd.DataFrame
    runs: Mapping[str, Sequence[Any]]
    counts: Mapping[str, int]
    warnings: Sequence[str]
    analysis: Analysis | None = None
    importances: Sequence[Mapping[str, Any]] = ()
    command: str = ""
    blocks: Sequence[Mapping[str, Any]] = ()
    ranks: Sequence[Mapping[str, Any]] = ()
    tuning: Sequence[Mapping[str, Any]] = ()


def external_data(result: ExternalRuns) -> ReportData:
    """The data of the page, cleaned of secrets and unprintable characters."""
    values = pd.to_numeric(pd.Series(result.runs[result.metric]), errors="coerce")
    # 93.1 already is a percentage: shown unchanged, under a name that says so
    metric = f"{result.metric} (as given)" if np.nanmax(values.abs(), initial=0.0) > 1 else result.metric
    ranking = result.ranking.assign(metric=metric)
    ranking["note"] = _specific_notes(ranking["note"].to_list())
    texts = ["trick", "level", "metric", "note"]
    ranking[texts] = ranking[texts].map(clean)
    used = {name: result.counts[name] for name in ("runs", "used", "failed", "excluded")}
    diagnostics = {**used, "warnings": list(result.warnings)}
    if result.analysis is not None:
        # the warnings of the analysis are already among `warnings`
        diagnostics = {**_diagnostics(result.analysis), **diagnostics}
    return ReportData(
        study=clean({"name": result.name, "metric": metric, "direction": result.direction, "command": result.command}),
        environment={"ablate": version("ablate"), "Python": python_version(), "pandas": pd.__version__},
        ranking=ranking,
        diagnostics=clean(diagnostics),
        design={"margin_source": "auto" if result.analysis is None or result.analysis.declaration.margin is None else "declared"},
        external=clean({"kind": result.kind, "source": result.source, **used, "importances": [dict(row) for row in result.importances],
                        "tables": [name for name in ("blocks", "ranks", "tuning") if getattr(result, name)]}),
        run_columns=_run_columns(result),
        labels={name: [value] * len(result.runs["run"]) for name, value in (("trial", -1), ("arm", ""), ("note", ""), ("budget", 0))},
    )  # fmt: skip


def _run_columns(result: ExternalRuns) -> dict[str, list[Any]]:
    """One value per run, with the column names of a study's runs."""
    same = {
        "stage": "table" if result.kind == "table" else "search",
        "recipe": "",
        "seed": "",
        "wave": 0,
        "epochs": 0,
    }
    columns = clean_columns({name: result.runs[name] for name in ("run", "outcome")})
    return {**{name: [value] * len(columns["run"]) for name, value in same.items()}, **columns}


def _specific_notes(notes: list[str]) -> list[str]:
    """Each row's notes without those that every row has: those are shown once, above the table."""
    parts = [[part for part in note.split("; ") if part] for note in notes]
    common = set.intersection(*map(set, parts)) if len(parts) > 1 else set()
    return ["; ".join(part for part in several if part not in common) for several in parts]


def _diagnostics(analysis: Analysis) -> Document:
    failures = analysis.failures
    return {
        "sigma": analysis.sigma,
        "df": analysis.df,
        "level": analysis.declaration.level,
        "margin": float(analysis.table["margin"].iloc[0]),
        "tricks": lines(analysis.table.astype({"more_runs": object})),
        "interactions": lines(analysis.interactions.head(_STRONGEST)),
        "pairs": len(analysis.interactions),
        "failures": lines(failures[failures["failed_with"] + failures["failed_without"] > 0]),
    }


def headline(data: ReportData, counted: str) -> tuple[str, str, str]:
    """Tone, headline and detail of the page's verdict. `counted`: "2 help and 1 hurts"."""
    source = data.external or {}
    basis = f"{count(source['used'])} of {plural(source['runs'], 'run')} have a value and enter."
    rows = data.ranking if data.ranking is not None else pd.DataFrame()
    if source["kind"] == "optuna":
        clear = [row for row in lines(rows) if row["low"] > 0 or row["high"] < 0]
        headline = f"The search’s trials suggest {len(clear)} of {plural(len(rows), 'effect')}; no design has shown one."
        return "open", headline, f"{basis} Trials of a search are chosen by results: what they suggest needs a designed comparison."  # fmt: skip
    return "open", f"Of {plural(len(rows), 'effect')} in the table, {counted}.", f"{basis} Another program trained them; nothing was trained again."  # fmt: skip


def source_facts(data: ReportData) -> list[tuple[str, str]]:
    """Facts on how the runs were read."""
    source, diagnostics = data.external or {}, data.diagnostics or {}
    facts = [
        ("Source", str(source["source"])),
        (
            "Runs",
            f"{source['runs']}: {source['used']} used, {source['failed']} failed, {source['excluded']} left out",
        ),
        ("Metric", f"{data.metric}, {'higher' if data.higher_is_better else 'lower'} is better"),
    ]
    if "sigma" in diagnostics:
        facts.append(
            (
                "σ̂ of one run",
                f"{significant(diagnostics['sigma'])}, {significant(diagnostics['df'], 3)} degrees of freedom",
            )
        )
    return facts


_FILES = {
    "importances": "Optuna's importances, one row a parameter",
    "blocks": "one row a block and effect",
    "ranks": "mean rank of each level over blocks",
    "tuning": "the value at which each arm is judged",
}


def files(source: Document) -> list[tuple[str, str]]:
    """The names of the data files next to the page."""
    names = [*(["importances"] if source.get("importances") else []), *source.get("tables", ())]
    return [
        ("ranking.csv", "one row a trick and level"),
        ("runs.csv", "one row a run, as it was read"),
        *((f"{name}.csv", _FILES[name]) for name in names),
        ("plots/", "every figure as SVG"),
    ]
