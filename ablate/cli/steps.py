"""The six steps on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

MARKS = {
    "pass": "[green]pass[/]",
    "warn": "[yellow]warn[/]",
    "fail": "[red]fail[/]",
    "skipped": "[dim]skipped[/]",
}


def show_steps(document: dict[str, Any]) -> None:
    """A line per step with its findings below, and the rate at the end."""
    console = Console(highlight=False)
    for step in document["steps"]:
        console.print(f"{step['step']} {escape(step['name'])}: {MARKS[step['verdict']]}")
        for finding in step["findings"]:
            where = f" ({finding['where']})" if finding.get("where") else ""
            advice = f" → {finding['advice']}" if finding.get("advice") else ""
            console.print(escape(f"    {finding['message']}{where}{advice}"))
    if document.get("learning_rate") is not None:
        console.print(
            f"learning rate {document['learning_rate']:.3g}, weight decay {document['weight_decay']:.3g}"
        )
