"""The table of docs/lr_find.md: how often each planted fault is named, and what healthy tasks are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol

from bench.statistics.sections import put

DOCUMENT = Path(__file__).parents[2] / "docs" / "lr_find.md"
VERDICTS = ("named", "vague", "wrong cause", "missed")


class Examined(Protocol):
    """What the table needs of a row of the file."""

    @property
    def case(self) -> str: ...
    @property
    def expected(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def told(self) -> str: ...


def write_table(rows: Sequence[Examined], path: Path = DOCUMENT) -> list[str]:
    """Write the section "faults" of the document; the lines are returned as well."""
    lines = [*summary(rows), "", *table(rows)]
    put("faults", lines, path)
    return lines


def summary(rows: Sequence[Examined]) -> list[str]:
    """Shares over all cases and seeds."""
    faults, healthy = [row for row in rows if row.expected], [row for row in rows if not row.expected]
    counts, passed = Counter(row.verdict for row in faults), Counter(row.verdict for row in healthy)
    shares = ", ".join(f"{name} {counts[name] / max(len(faults), 1):.1%}" for name in VERDICTS)
    return [
        f"{len({row.case for row in faults})} planted faults, n = {len(faults)} runs: {shares}.",
        f"{len({row.case for row in healthy})} healthy tasks, n = {len(healthy)} runs: failed {passed['fail']}, "
        f"warned {passed['warn']}.",
    ]


def table(rows: Iterable[Examined]) -> list[str]:
    lines = ["| planted fault | cause and step | named | told otherwise |", "|---|---|---|---|"]
    healthy = ["", "| healthy task | runs without a warning | told |", "|---|---|---|"]
    for name, group in groupby(rows, key=lambda row: row.case):
        rows_of_case = list(group)
        others = Counter(
            f"{row.verdict}: {row.told or 'nothing'}"
            for row in rows_of_case
            if row.verdict not in ("named", "pass")
        )
        others_text = "; ".join(f"{count} × {what}" for what, count in others.items())
        good = sum(row.verdict in ("named", "pass") for row in rows_of_case)
        if rows_of_case[0].expected:
            lines.append(
                f"| {name} | {rows_of_case[0].expected} | {good}/{len(rows_of_case)} | {others_text} |"
            )
        else:
            healthy.append(f"| {name} | {good}/{len(rows_of_case)} | {others_text} |")
    return [*lines, *healthy]
