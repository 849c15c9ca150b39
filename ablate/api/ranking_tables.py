"""The ranking as Rich tables, for the terminal and notebooks."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ablate.ranking.estimands import ESTIMANDS
from ablate.records.designs import EXPLORATORY, Estimand

if TYPE_CHECKING:
    from ablate.report.data import ReportData


WIDE = 150
"""Characters of a terminal that holds both references side by side."""
GAP = 2
"""Characters between two columns."""


def tables_of(data: ReportData, width: int = WIDE) -> list[Table]:
    """The ranking as Rich tables: one with all references side by side, where `width` (of the terminal, in characters) is enough, else one for
    each; or one for each estimand of an array."""
    from ablate.report.action import is_tuned_report
    from ablate.report.tuned_rows import references

    if not is_tuned_report(data):
        return ranking_tables(data.ranking)
    if width >= WIDE:
        return [tuned_table(data, width)]
    return [_narrow_table(data, name, width) for name in references(data)]


SHORT = {"no measurable effect": "no effect"}
"""Verdicts as a narrow table prints them, on one line; its title explains them."""


def _title(data: ReportData, *, short: bool = False) -> str:
    from ablate.report.action import margin_text

    unit = data.units.difference.strip()
    margin = margin_text(data.design or {}, data.units)
    meaning = f"no effect: less than {margin}" if short else f"less than {margin} does not matter"
    return f"effect on {data.metric}{f', {unit}' if unit else ''}; {meaning}"


def tuned_table(data: ReportData, width: int = WIDE) -> Table:
    """One line per trick: its effect with the interval, and the verdict, on the baseline and in the recipe found."""
    from ablate.report.tuned_rows import references, tuned_rows

    table = Table(box=None, pad_edge=False, title=escape(_title(data)), title_justify="left")
    rows = tuned_rows(data)
    levels, held = any(row.against for row in rows), any(row.part_of for row in rows)
    table.add_column("trick", no_wrap=True)
    for name, wanted in (("against", levels), ("part of", held)):
        if wanted:
            table.add_column(name)
    for name in references(data):
        table.add_column(ESTIMANDS[name].where, justify="right")
        table.add_column("verdict")
    for row in rows:
        cells = [escape(row.against or "off")] * levels + [row.part_of] * held
        for cell in row.cells:
            shown = f"{cell.effect} [{cell.interval}]" if not cell.why else "–"
            cells += [escape(shown), escape(cell.verdict or "no arm")]
        table.add_row(escape(row.name), *cells)
    return _with_whole_words(table, width)


def _with_whole_words(table: Table, width: int) -> Table:
    """The table with columns no narrower than their longest word, where `width` (in characters) is enough for that: no name is broken, and none is
    cut off. The last columns get the rest first."""
    least, wanted = [], []
    for column in table.columns:
        cells = [Text.from_markup(str(cell)).plain for cell in (column.header, *column.cells)]
        wanted.append(max(map(len, cells)))
        words = cells if column.no_wrap else [word for cell in cells for word in cell.split()]
        least.append(max(map(len, words)))
    rest = width - sum(least) - GAP * (len(least) - 1)
    if rest < 0:
        for column in table.columns:
            column.overflow = "fold"  # rather than cut off
        return table
    for column, most, size in reversed(list(zip(table.columns, wanted, least, strict=True))):
        more = min(rest, most - size)
        column.width, rest = size + more, rest - more
    return table


def _narrow_table(data: ReportData, estimand: Estimand, width: int) -> Table:
    """The same on one reference, the largest effect there first; a star marks what the reference has."""
    from ablate.report.tuned_rows import by_trick, references, tuned_rows

    place, shown = references(data).index(estimand), ESTIMANDS[estimand].where
    effects = {name: rows[estimand]["effect"] for name, rows in by_trick(data).items() if estimand in rows}
    rows = sorted(tuned_rows(data), key=lambda row: -effects.get(row.name, -inf))
    held = [ESTIMANDS[estimand].reference in row.part_of.split(", ") for row in rows]
    title = f"{_title(data, short=True)}\n{shown}" if place == 0 else f"\n{shown}"
    table = Table(
        box=None,
        pad_edge=False,
        title=escape(title + (", * has it" if any(held) else "")),
        title_justify="left",
    )
    levels = any(row.against for row in rows)
    for name, justify in (("trick", "left"), ("against", "left"), ("effect", "right"), ("interval", "right"), ("verdict", "left")):  # fmt: skip
        if name != "against" or levels:
            table.add_column(name, justify=justify, no_wrap=name in ("trick", "effect"))  # type: ignore[arg-type]
    for row, star in zip(rows, held, strict=True):
        cell = row.cells[place]
        numbers = (
            ("–", "", "no arm")
            if cell.why
            else (cell.effect, cell.interval, SHORT.get(cell.verdict, cell.verdict))
        )
        cells = [escape(cell.against or "off")] * levels + [escape(text) for text in numbers]
        table.add_row(escape(row.name) + "*" * star, *cells)
    return _with_whole_words(table, width)


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
