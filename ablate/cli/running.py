"""Run stages of a study for a command: open, show progress, and tell what came out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ablate.cli.progress import Shown
from ablate.lanes.phase_timer import PHASES
from ablate.records.names import check_name
from ablate.records.study import StudyFile
from ablate.study.driver import STAGES, run_study
from ablate.study.preflight import check_ready
from ablate.study.resume import Options, find, session_of

if TYPE_CHECKING:
    from ablate.report.data import ReportData


@dataclass(frozen=True)
class Spent:
    """Where the time went: `seconds` by phase (of all workers together, and of this process), `wall` seconds in all."""

    seconds: dict[str, float]
    wall: float
    workers: int


UNTOLD = ("rows", "aliases", "asked")
"""Parts of a design that are long: the design matrix of the report has the rows."""


@dataclass(frozen=True)
class CommandResult:
    """What a command says at its end."""

    name: str
    stages: tuple[str, ...]
    data: ReportData
    page: Path | None
    spent: Spent | None = None

    @property
    def document(self) -> dict[str, Any]:
        ranking = self.data.ranking
        return {
            "study": self.data.study,
            "stages": list(self.stages),
            "report": str(self.page) if self.page else None,
            "lr_find": self.data.lr_find,
            "search": self.data.search,
            "confirm": self.data.confirm,
            "design": {k: v for k, v in (self.data.design or {}).items() if k not in UNTOLD} or None,
            "ranking": [] if ranking is None else ranking.to_dict("records"),
            "timings": self.data.timings,
            **({"profile": asdict(self.spent)} if self.spent else {}),
        }

    def show(self) -> None:
        """The ranking as a table, where the report is, and last what to do."""
        console = Console(highlight=False)
        ranking = self.data.ranking
        if ranking is not None and {"rank", "confirm"} & set(self.stages):
            for table in tables_of(self.data):
                console.print(table)
        from ablate.report.verdict import verdict

        if self.spent is not None:
            console.print(spent_table(self.spent))
        told = verdict(self.data, self.page.parent if self.page else None)
        for doubt in told.doubts:
            console.print(f"note: {doubt}", markup=False)
        if self.page:
            console.print(f"report: {self.page}", markup=False, soft_wrap=True)
        console.print(told.headline, markup=False)
        if told.detail:
            console.print(told.detail, markup=False)
        if told.command:
            console.print(f"  {told.command}", markup=False, soft_wrap=True)


def tables_of(data: ReportData) -> list[Table]:
    """The ranking as Rich tables: one with both references side by side, or one for each estimand of an array."""
    from ablate.report.action import is_tuned_report

    return [tuned_table(data)] if is_tuned_report(data) else ranking_tables(data.ranking)


def tuned_table(data: ReportData) -> Table:
    """One line a trick: its effect with the interval, and the verdict, on the baseline and in the recipe found."""
    from ablate.report.action import margin_text
    from ablate.report.tuned_rows import REFERENCES, references, tuned_rows

    unit = data.units.difference.strip()
    title = f"effect on {data.metric}{f', {unit}' if unit else ''}; less than {margin_text(data.design or {}, data.units)} does not matter"
    table = Table(box=None, pad_edge=False, title=escape(title), title_justify="left")
    table.add_column("trick")
    for name in references(data):
        table.add_column(REFERENCES[name], justify="right")
        table.add_column("verdict")
    for row in tuned_rows(data):
        cells = []
        for cell in row.cells:
            shown = f"{cell.effect} [{cell.interval}]" if not cell.why else "–"
            cells += [escape(shown), escape(cell.verdict or "no arm")]
        table.add_row(escape(row.name), *cells)
    return table


def ranking_tables(ranking: Any) -> list[Table]:
    """The effects with a verdict as Rich tables, one for each estimand and metric, the largest first."""
    rows = ranking[ranking["estimand"] != "exploratory"]
    kinds = Counter(zip(rows["estimand"], rows["metric"], strict=True))
    tables = []
    for (kind, metric), _ in kinds.most_common():
        own = rows[(rows["estimand"] == kind) & (rows["metric"] == metric)]
        margins = own["margin"].dropna().unique()
        margin = f"; less than {margins[0]:.4g} does not matter" if len(margins) == 1 else ""
        tables.append(ranking_table(own, f"{kind} effect on {metric}{margin}"))
    return tables


def ranking_table(rows: Any, title: str) -> Table:
    """One line a trick; an undecided one says why."""
    table = Table(box=None, pad_edge=False, title=escape(title), title_justify="left")
    for column, justify in (
        ("trick", "left"),
        ("effect", "right"),
        ("interval", "right"),
        ("verdict", "left"),
        ("runs", "right"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for row in rows.to_dict("records"):
        name = row["trick"] if row["level"] == "on" else f"{row['trick']}: {row['level']}"
        table.add_row(
            escape(name), f"{row['effect']:+.4f}", escape(f"[{row['low']:+.4f}, {row['high']:+.4f}]"),
            escape(verdict_text(row)), str(row["runs"]),
        )  # fmt: skip
    return table


def verdict_text(row: dict[str, Any]) -> str:
    """The verdict; what would decide an undecided one stands first in its note."""
    why = str(row["note"]).split("; ")[0] if row["verdict"] == "undecided" and row["note"] else ""
    return f"{row['verdict']}: {why}" if "more runs" in why or "decidable" in why else str(row["verdict"])


def spent_table(spent: Spent) -> Table:
    """Phases of training as shares of the workers' time, and what this process did at the same time."""
    table = Table(
        title=f"{spent.wall:.1f} s with {spent.workers} worker{'s' * (spent.workers != 1)}",
        box=None,
        title_justify="left",
    )
    for column, justify in (("", "left"), ("phase", "left"), ("seconds", "right"), ("share", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    whole = spent.wall * spent.workers
    parts = [("workers", name, spent.seconds.get(name, 0.0), whole) for name in PHASES]
    parts.append(("workers", "idle and other", whole - sum(part[2] for part in parts), whole))
    parts += [
        ("driver", name, spent.seconds.get(name, 0.0), spent.wall) for name in ("search", "ledger", "waiting")
    ]
    for where, name, seconds, of in parts:
        table.add_row(where, name, f"{seconds:.2f}", f"{seconds / of:.0%}")
    return table


def changed(study: StudyFile, trials: int | None, seed: int | None, epochs: int | None) -> StudyFile:
    """The study file with what the command line said."""
    if trials is not None:
        study = replace(study, search=replace(study.search, trials=trials))
    if seed is not None:
        study = replace(study, seed=seed)
    return study if epochs is None else replace(study, epochs=epochs)


def import_statistics() -> None:
    """What the end of a command needs and its beginning does not: a second of imports (pandas, SciPy's statistics)."""
    import ablate.report.collect
    import ablate.report.verdict  # noqa: F401


def run_stages(
    given: str,
    stages: Sequence[str],
    *,
    trials: int | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    device: str = "auto",
    lanes: int = 0,
    workers: int = 0,
    executor: str = "auto",
    kernel: str = "auto",
    memory: float = 0.0,
    profile: bool = False,
    studies: Path = Path("studies"),
    out: Path = Path("reports"),
    force: bool = False,
    quiet: bool = False,
    change: Any = None,
    name: str = "",
    budget: str = "",
) -> CommandResult:
    """Open the study that was asked for, run `stages` (all where none is named), collect what came out.

    `budget`: of the whole study; what the other stages leave of it becomes the rank stage's.
    """
    from ablate.study.driver import check_stages

    chosen = check_stages(stages or STAGES)
    options = Options(studies, out, device, lanes, workers, executor, kernel, memory, profile)
    opened = find(given, options)
    opened = replace(opened, name=check_name(name), named=name) if name else opened
    study = changed(opened.study, trials, seed, epochs)
    study = change(study) if change else study
    division = None
    if budget:
        from ablate.cli.design import check_options
        from ablate.study.budget import divided

        check_options(study.rank.design, budget, {})
        division = divided(budget, replace(opened, study=study), options, chosen)
        study = replace(study, rank=replace(study.rank, budget=division.rank))
    text = opened.text if study == opened.study else study.to_toml()
    opened = replace(opened, study=study, text=text)
    context = check_ready(opened, options, chosen)
    metric = study.metric or opened.task.metric
    shown = Shown(metric, higher=opened.task.direction == "higher", quiet=quiet)
    with shown as progress, session_of(opened, options, progress, context) as session:
        started = time.perf_counter()
        if division is not None:
            session.ledger.put("budget", division.to_json())
            if division.words:
                progress.say(division.words)
        session.overlap = Thread(target=import_statistics).start
        page = run_study(session, options, chosen, force=force)
        spent = (
            Spent(dict(session.spent), time.perf_counter() - started, session.workers) if profile else None
        )
        from ablate.report.collect import collect

        data = collect(session.ledger)
    return CommandResult(opened.name, chosen, data, page, spent)
