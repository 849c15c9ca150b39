"""Tables that another program has made in a ledger (Optuna does so when it is shown one): they are left alone, and named."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from ablate.ledger import schema


def foreign_tables(path: str | Path) -> str:
    """A line that names them; "" where there is none. Raises InputError if the ledger at `path` cannot be read."""
    path = Path(path)
    with schema.translated_errors(path), closing(schema.connect(path, write=False)) as connection:
        rows = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
        names = sorted({str(name) for (name,) in rows} - set(schema.TABLES))
    return (
        f"{path} also has tables of another program, which are left alone: {', '.join(names)}"
        if names
        else ""
    )
