"""The results of a study on a terminal."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ablate.api.ranking_tables import tables_of
from ablate.lanes.phase_timer import PHASES

if TYPE_CHECKING:
    from ablate.api.result import Study, TimeSpent


def show(study: Study) -> None:
    """The ranking as a table, the path of the report and, last, what to do next."""
    console = Console(highlight=False)
    ranking = study.data.ranking
    if ranking is not None and {"rank", "confirm"} & set(study.stages):
        for table in tables_of(study.data, console.width):
            console.print(table)
    from ablate.report.ladder import steps_text
    from ablate.report.verdict import verdict

    if study.spent is not None:
        console.print(spent_table(study.spent))
    message = verdict(study.data, study.page.parent if study.page else None)
    for doubt in message.doubts:
        _say(console, f"note: {doubt}")
    if study.page:
        console.print(f"report: {study.page}", markup=False, soft_wrap=True)
    _say(console, message.headline)
    if message.detail:
        _say(console, message.detail)
    if steps := steps_text(study.data):
        _say(console, steps)
    if message.command:
        console.print(f"  {message.command}", markup=False, soft_wrap=True)


def _say(console: Console, text: str) -> None:
    """Print text wrapped between words: a name, or a list of names in a command, is never broken."""
    lines = wrap(text, console.width, break_long_words=False, break_on_hyphens=False)
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def spent_table(spent: TimeSpent) -> Table:
    """Phases of training as shares of the workers' time, and those of this process in the meantime."""
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
