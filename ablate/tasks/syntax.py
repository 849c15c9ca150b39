"""The user's code as syntax trees, so that comments, docstrings and layout do not count.

Of a file that is named, only what is reached: functions, classes and values by name. The user's modules that it imports count as
wholes, and so do those that these import, and so on. Installed packages do not count.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from types import FunctionType
from typing import Any

import ablate
from ablate.records.library_folders import is_installed

PACKAGE = Path(ablate.__file__).resolve().parent


def sha256(parts: Iterable[str]) -> str:
    """The SHA-256 of the parts, one a line."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()


def code_of(roots: Iterable[Any]) -> list[str]:
    """The statements that functions and classes of the user reach, and the modules that they import, sorted. None for libraries' own."""
    files: dict[Path, set[ast.AST]] = {}
    for root in map(_plain, roots):
        if file := _file(root):
            files.setdefault(file, set()).update(_nodes(root, _tree(file)))
    parts: set[str] = set()
    imported: set[Path] = set()
    for file, nodes in files.items():
        for node in _reached(nodes, _names(_tree(file)) if nodes else {}):
            parts.add(ast.dump(node, annotate_fields=False))
            imported.update(_imported(node, file))
        for node in _tree(file).body if nodes else ():
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                imported.update(_imported(node, file))
    return sorted(parts.union(code_of_files(imported)))


def code_of_files(files: Iterable[Path]) -> list[str]:
    """The whole of `files`, and of the user's modules that they import, sorted."""
    waiting = [file for given in files if (file := user_file(given))]
    seen: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += _imported(_tree(file), file)
    return sorted({_dumped(_tree(file)) for file in seen})


def user_file(name: str | Path | None) -> Path | None:
    """The file of that name, resolved, if it is neither Python's, ablate's nor an installed package's."""
    file = Path(name or "").resolve()
    users = file.is_file() and not is_installed(file) and not file.is_relative_to(PACKAGE)
    return file if users else None


def is_users(root: Any) -> bool:
    """Whether a function or class stands in a file of the user."""
    return _file(root) is not None


def _plain(root: Any) -> Any:
    """The function of a partial one; the class of an object that is called."""
    while isinstance(root, partial):
        root = root.func
    return root if inspect.isclass(root) or hasattr(root, "__code__") else type(root)


def _file(root: Any) -> Path | None:
    """The file of a function or class of the user; None for a library's, and where there is no file."""
    if not inspect.isclass(root):
        return user_file(root.__code__.co_filename) if hasattr(root, "__code__") else None
    codes = (value.__code__ for value in vars(root).values() if isinstance(value, FunctionType))
    files = [file for code in codes if (file := user_file(code.co_filename))]
    return files[0] if files else user_file(getattr(sys.modules.get(root.__module__), "__file__", None))


_trees: dict[tuple[Path, bytes], ast.Module] = {}


def _tree(file: Path) -> ast.Module:
    """The file's syntax tree without docstrings. One object for one content."""
    content = file.read_bytes()
    if (file, content) not in _trees:
        try:
            tree = ast.parse(content)
        except (SyntaxError, ValueError):  # never run, or not by this Python: compared as it stands
            tree = ast.Module([ast.Expr(ast.Constant(content))], [])
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, False) is not None:  # fmt: skip
                node.body = node.body[1:] or [ast.Pass()]
        _trees[file, content] = tree
    return _trees[file, content]


@cache
def _dumped(tree: ast.Module) -> str:
    return ast.dump(tree, annotate_fields=False)


def _nodes(root: Any, tree: ast.Module) -> list[ast.AST]:
    """The definitions of a function or a class in a file."""
    name = getattr(root, "__qualname__", "").split(".")[-1]
    if name == "<lambda>":
        line = root.__code__.co_firstlineno
        return [node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and node.lineno == line]
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name]  # fmt: skip


def _names(tree: ast.Module) -> dict[str, list[ast.AST]]:
    """Name -> the statements of the module that define it."""
    names: dict[str, list[ast.AST]] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            defined = {node.name}
        else:
            defined = {name for one in ast.walk(node) for name in _defined(one)}
        for name in defined:
            names.setdefault(name, []).append(node)
    return names


def _defined(node: ast.AST) -> Iterator[str]:
    """The names that a part of a statement of a module defines or changes."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Expr) and isinstance(
        node.value, ast.Call
    ):  # CFG.update(width=64), setattr(CFG, "width", 64)
        call = node.value
        changed = [call.func.value] if isinstance(call.func, ast.Attribute) else call.args[:1]
        yield from (one.id for part in changed for one in ast.walk(part) if isinstance(one, ast.Name))
    elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
        yield from (one.id for one in ast.walk(node.value) if isinstance(one, ast.Name))


def _reached(nodes: Iterable[ast.AST], names: dict[str, list[ast.AST]]) -> set[ast.AST]:
    """`nodes`, and the statements that define what they name, and so on."""
    reached: set[ast.AST] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node in reached:
            continue
        reached.add(node)
        for one in ast.walk(node):
            if isinstance(one, ast.Name):
                waiting += names.get(one.id, [])
    return reached


def _imported(tree: ast.AST, file: Path) -> Iterator[Path]:
    """The user's modules that the import statements in `tree`, a part of `file`, name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            for parts in names:
                for length in range(1, len(parts) + 1):
                    yield from _module(parts[:length], file, 0)
        elif isinstance(node, ast.ImportFrom):
            parts = node.module.split(".") if node.module else []
            yield from _module(parts, file, node.level)
            for alias in node.names:
                yield from _module([*parts, alias.name], file, node.level)


def _module(parts: list[str], file: Path, level: int) -> Iterator[Path]:
    """The file of a module of the user, if there is one. parts: its dotted name, relative to the package of `file` if `level` is not 0.

    A module that was imported is where Python found it; one that was not is looked for beside `file` and on the path.
    """
    loaded = sys.modules.get(".".join(parts)) if not level else None
    if loaded is not None:
        if found := user_file(getattr(loaded, "__file__", None)):
            yield found
        return
    folders = [file.parents[level - 1]] if level else [file.parent, *map(Path, sys.path)]
    for folder in folders:
        path = folder.joinpath(*parts)
        for candidate in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if candidate.is_file():
                if found := user_file(candidate):
                    yield found
                return
