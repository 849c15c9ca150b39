"""Standard output of the commands: one JSON document with `--json`, and nothing else."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

import typer


def print_json(document: Any) -> None:
    """Print one JSON document; non-finite numbers become null."""
    text = json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False)
    typer.echo(text, file=_answer[-1] if _answer else None)


_answer: list[TextIO] = []


@contextmanager
def only_the_answer() -> Iterator[None]:
    """Context: anything else that is printed (by a task file, for example) goes to standard error."""
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
