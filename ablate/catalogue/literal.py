"""Read a trick's record from its file without running the file.

`TRICK = Trick(...)` is a literal at the end of every catalogue file. Reading it with `ast` takes
well under a millisecond and imports nothing, so that `ablate tricks` need not wait for torch.
"""

from __future__ import annotations

import ast
from dataclasses import fields
from math import inf
from pathlib import Path
from typing import Any

from ablate.records.arguments import check_names, check_types
from ablate.records.errors import InputError
from ablate.records.trick import Claim, Parameter, Source, Trick

RECORDS = {record.__name__: record for record in (Trick, Parameter, Claim, Source)}


def read(path: Path) -> Trick:
    """The record in the file at `path`. Raises InputError if there is none or it is not a literal."""
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the trick file {path}: {error}") from error
    return parse(source, path)


def parse(source: str, path: Path) -> Trick:
    """The record in `source`, the text of the file at `path`. Raises InputError as `read` does."""
    start = source.rfind("\nTRICK = ")
    if start < 0:
        raise InputError(f"{path} has no 'TRICK = Trick(...)' at the end")
    try:
        statement = ast.parse(source[start + 1 :]).body[0]
    except SyntaxError as error:
        line = source.count("\n", 0, start + 1) + (error.lineno or 0)
        raise InputError(f"{path}, line {line}: {error.msg}") from error
    assert isinstance(statement, ast.Assign)
    try:
        record = _value(statement.value)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", hint=error.hint) from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: the record must be a literal Trick(...): {error}") from error
    if not isinstance(record, Trick):
        raise InputError(f"{path}: TRICK must be a Trick")
    return record


def description(path: Path) -> str:
    """The docstring at the head of a trick file: what it does, formula, lineage."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _value(node: ast.expr) -> Any:
    """The value of a literal expression; records, tuples, numbers, text, names `inf`; nothing else."""
    match node:
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in RECORDS:
            record = RECORDS[name]
            known = [field.name for field in fields(record)]
            named = {keyword.arg: _value(keyword.value) for keyword in keywords if keyword.arg}
            check_names(named, known)
            values = [_value(arg) for arg in args]
            check_types(record, dict(zip(known, values, strict=False)) | named)
            return record(*values, **named)
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_value(item) for item in items)
        case ast.Name(id="inf"):
            return inf
        case _:
            return ast.literal_eval(node)
