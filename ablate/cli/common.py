"""Options that several commands share, and how output is printed."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

Given = Annotated[
    str, typer.Argument(metavar="[STUDY]", help="A study file, its name, a task, or file.py:name.")
]
Margin = Annotated[float | None, typer.Option(help="Smallest effect that matters, in the metric's units.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Lanes = Annotated[int, typer.Option(help="Most runs that train together (0: chosen by the kernel).", min=0)]
Workers = Annotated[int, typer.Option(help="Worker processes on a CPU (0: one a core).", min=0)]
ExecutorName = Annotated[str, typer.Option("--executor", help="auto, inline, processes or module:factory.")]
Kernel = Annotated[
    str,
    typer.Option(
        help="auto (measured once a machine and model), compiled (lanes as machine code), batched (layer by layer), vmap (as one call), loop (one by one)."
    ),
]
Memory = Annotated[
    float, typer.Option(help="GiB that training may take in all (0: most of what is free).", min=0)
]
Profile = Annotated[bool, typer.Option("--profile", help="Tell at the end where the time went.")]
Studies = Annotated[Path, typer.Option(help="Folder of study files and ledgers.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of reports.")]
Name = Annotated[
    str, typer.Option(help="Name of the ledger and the report (default: the study's or the task's).")
]
Epochs = Annotated[int | None, typer.Option(help="Budget of a run.", min=1, max=1_000_000)]
Trials = Annotated[int | None, typer.Option(help="Trials of the search.", min=1, max=1_000_000)]
Seed = Annotated[int | None, typer.Option(help="The study's seed (0 to 2147483647).", min=0, max=2**31 - 1)]

DESIGN_HELP = (
    "tuned (default): every trick on the baseline and in the recipe, each at its own best rate; "
    "screening: average effects of many tricks from an array; factorial: every combination of up to 4 tricks; "
    "drop-one: the recipe without each trick; add-one: the baseline with each trick."
)
DesignName = Annotated[str, typer.Option("--design", help=DESIGN_HELP)]


def check_margin(margin: float | None) -> None:
    """Raise InputError for a margin that is none."""
    if margin is not None and not margin > 0:
        from ablate.records.errors import InputError

        raise InputError(f"--margin must be above zero, not {margin}", hint="leave it out for 'auto'")


MAIN = "ablate.cli.app"
"""Imported by the program's main module, which each worker imports first of all."""


def begin_workers(given: str, studies: Path, executor: str, device: str, workers: int) -> None:
    """Start the workers' imports while this process does its own, if there will be workers."""
    if executor in ("auto", "processes") and device in ("auto", "cpu") and workers != 1:
        from ablate.executors.processes import preload
        from ablate.tasks.imports import imports

        preload([MAIN, *imports(given, studies)])


def print_json(document: Any) -> None:
    """One JSON document; what is not finite becomes null, as JSON knows no such number."""
    text = json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False)
    typer.echo(text, file=_answer[-1] if _answer else None)


_answer: list[TextIO] = []


@contextmanager
def only_the_answer() -> Iterator[None]:
    """Within, whatever else is printed (a task file may print) goes to standard error."""
    _answer.append(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _answer.pop()


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    return value.item() if hasattr(value, "item") else str(value)
