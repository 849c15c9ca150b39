"""The modules that loading a task will import, found without loading it: workers are forked from a server that has already imported them.

Only libraries that are slow to import matter. A superfluous one costs the server time, a missing one costs
every worker that time.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

from ablate.tasks.task_cards import CARDS, TaskCard

PANDAS, SKLEARN, ENCODING = (
    "pandas",
    "sklearn.datasets",
    ("sklearn.compose", "sklearn.impute", "sklearn.preprocessing"),
)
TABLES = (".csv", ".tsv", ".parquet")
SLOW = ("pandas", "sklearn", "scipy")


def imports(given: str, studies: Path) -> tuple[str, ...]:
    """Modules that the task of `given` needs: a study file, the name of one in the folder `studies`, a task's name,
    or `file.py:attribute`. None if that cannot be read; the error is reported when it is opened."""
    try:
        return of_task(_task(given, studies))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return ()


def of_task(reference: str) -> tuple[str, ...]:
    """The modules of a task's name or `file.py:attribute`. Raises OSError, ValueError or SyntaxError."""
    if reference in CARDS:
        return of_card(CARDS[reference])
    path = reference if reference.endswith(".py") else reference.rpartition(":")[0]
    if path.lower().endswith(TABLES):
        return (PANDAS, *ENCODING)
    return of_source(Path(path).read_bytes()) if path.endswith(".py") else ()


def of_card(card: TaskCard) -> tuple[str, ...]:
    """The modules that `builtin` imports for it."""
    fetched = bool(card.missing())
    table = card.kind == "tabular"
    shipped = table and not card.needs
    encoded = (PANDAS, *ENCODING) if table else (PANDAS,) if fetched else ()
    return (*encoded, *([SKLEARN] if shipped or fetched else []))


def of_source(source: bytes) -> tuple[str, ...]:
    """The slow modules that a file imports anywhere. The file is not run."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return tuple(sorted(name for name in modules if name.partition(".")[0] in SLOW))


def _task(given: str, studies: Path) -> str:
    named = studies / f"{given}.toml"
    file = named if named.is_file() else Path(given)
    if file.suffix != ".toml":
        return given
    return str(tomllib.loads(file.read_text(encoding="utf-8")).get("task", ""))
