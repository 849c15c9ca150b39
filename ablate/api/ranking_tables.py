"""The ranking as Rich tables, for the terminal and notebooks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from ablate.ranking.estimands import ESTIMANDS
from ablate.records.designs import EXPLORATORY

if TYPE_CHECKING:
    from ablate.report.data import ReportData


def tables_of(data: ReportData) -> list[Table]:
    """The ranking as Rich tables: one with both references side by side, or one for each estimand of an array."""
    from ablate.report.action import is_tuned_report

    return [tuned_table(data)] if is_tuned_report(data) else ranking_tables(data.ranking)


def tuned_table(data: ReportData) -> Table:
    """One line per trick: its effect with the interval, and the verdict, on the baseline and in the recipe found."""
    from ablate.report.action import margin_text
    from ablate.report.tuned_rows import references, tuned_rows

    unit = data.units.difference.strip()
    title = f"effect on {data.metric}{f', {unit}' if unit else ''}; less than {margin_text(data.design or {}, data.units)} does not matter"
    table = Table(box=None, pad_edge=False, title=escape(title), title_justify="left")
    rows = tuned_rows(data)
    levels = any(row.against for row in rows)
    table.add_column("trick", no_wrap=True, min_width=max((len(row.name) for row in rows), default=0))
    if levels:
        table.add_column("against")
    for name in references(data):
        table.add_column(ESTIMANDS[name].where, justify="right")
        table.add_column("verdict")
    for row in rows:
        cells = [row.against or "off"] if levels else []
        for cell in row.cells:
            shown = f"{cell.effect} [{cell.interval}]" if not cell.why else "–"
            cells += [escape(shown), escape(cell.verdict or "no arm")]
        table.add_row(escape(row.name), *cells)
    return table


def ranking_tables(ranking: Any) -> list[Table]:
    """The effects with a verdict as Rich tables, one for each estimand and metric, the largest first."""
    rows = ranking[ranking["estimand"] != EXPLORATORY]
    kinds = Counter(zip(rows["estimand"], rows["metric"], strict=True))
    tables = []
    for (kind, metric), _ in kinds.most_common():
        group = rows[(rows["estimand"] == kind) & (rows["metric"] == metric)]
        margins = group["margin"].dropna().unique()
        margin = f"; less than {margins[0]:.4g} does not matter" if len(margins) == 1 else ""
        tables.append(ranking_table(group, f"{kind} effect on {metric}{margin}"))
    return tables


def ranking_table(rows: Any, title: str) -> Table:
    """One line per trick; an undecided one gives the reason."""
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
    """The verdict; for an undecided one, with the start of its note, which says what would decide it."""
    why = str(row["note"]).split("; ")[0] if row["verdict"] == "undecided" and row["note"] else ""
    return f"{row['verdict']}: {why}" if "more runs" in why or "decidable" in why else str(row["verdict"])
