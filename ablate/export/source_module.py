"""A Python module as text: where each of its names is defined, and which names a definition uses."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign
Scoped = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """What a name of a module refers to: `attribute` of `module`, or the module itself ("")."""

    module: str
    attribute: str = ""

    def statement(self, name: str) -> str:
        """The import statement that gives `name`."""
        if not self.attribute:
            plain = f"import {self.module}"
            return plain if name == self.module.partition(".")[0] and "." not in self.module else f"{plain} as {name}"  # fmt: skip
        renamed = "" if name == self.attribute else f" as {name}"
        return f"from {self.module} import {self.attribute}{renamed}"


@dataclass(frozen=True)
class SourceModule:
    """The text of a module, its definitions and its imports by name."""

    name: str
    path: Path
    lines: tuple[bytes, ...]
    tree: ast.Module
    definitions: dict[str, Definition]
    imports: dict[str, Imported]

    @classmethod
    def read(cls, name: str, path: Path) -> SourceModule:
        """The module in `path`. Raises OSError, SyntaxError."""
        return _read(name, path, path.stat().st_mtime_ns)

    def text(self, node: ast.stmt | ast.expr) -> list[bytes]:
        """The lines of a definition, from its first decorator on, UTF-8 (column offsets of `ast` count bytes)."""
        return list(self.lines[first_line(node) - 1 : node.end_lineno])


@cache
def _read(name: str, path: Path, changed: int) -> SourceModule:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    definitions: dict[str, Definition] = {}
    imports: dict[str, Imported] = {}
    package = name.rpartition(".")[0]
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                imports[alias.asname or alias.name.partition(".")[0]] = _imported(alias)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(name.split(".")[: -node.level]) if node.level else ""
            module = ".".join(
                part for part in (above or (package if node.level else ""), node.module) if part
            )
            for alias in node.names:
                imports[alias.asname or alias.name] = Imported(module, alias.name)
        elif isinstance(node, Definition):
            definitions |= dict.fromkeys(defined(node), node)
    return SourceModule(name, path, tuple(text.encode().split(b"\n")), tree, definitions, imports)


def _imported(alias: ast.alias) -> Imported:
    """What `import NAME` or `import NAME as OTHER` binds; `import a.b as c` is the same as `from a import b as c`."""
    if not alias.asname:
        return Imported(alias.name.partition(".")[0])
    package, _, module = alias.name.rpartition(".")
    return Imported(package, module) if package else Imported(module)


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Top-level statements, and those of `if` and `try` at top level."""
    pending: list[ast.stmt] = list(reversed(tree.body))
    while pending:
        node = pending.pop()
        yield node
        for field in (
            ("body", "orelse", "handlers", "finalbody") if isinstance(node, ast.If | ast.Try) else ()
        ):
            pending += reversed([child for child in getattr(node, field, ()) if isinstance(child, ast.stmt)])


def first_line(node: ast.stmt | ast.expr) -> int:
    """The first line of a definition, its decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)])


def defined(node: Definition) -> list[str]:
    """The names that a definition binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]


def free_names(node: ast.AST) -> Iterator[ast.Name]:
    """Every use of a name within `node` that no scope in it binds."""
    yield from _free(node, frozenset())


def _free(node: ast.AST, bound: frozenset[str], around: frozenset[str] | None = None) -> Iterator[ast.Name]:
    """`around`: what decorators, annotations and defaults of a function see, if not `bound`: the names of its class."""
    if isinstance(node, ast.Name):
        if node.id not in bound and isinstance(node.ctx, ast.Load):
            yield node
        return
    if isinstance(node, ast.ClassDef):
        class_names = bound | _bound_in(node)  # of the class body, which the functions in it do not see
        for child in ast.iter_child_nodes(node):
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            inside = child in node.body and not is_function
            yield from _free(child, class_names if inside else bound, class_names if is_function else None)
        return
    if not isinstance(node, Scoped):
        for child in ast.iter_child_nodes(node):
            yield from _free(child, bound)
        return
    inner = bound | _bound_in(node)
    outside = _evaluated_outside(node)
    around = bound if around is None else around
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.arguments):
            every = [*child.posonlyargs, *child.args, *child.kwonlyargs, child.vararg, child.kwarg]
            annotations = [one.annotation for one in every if one is not None and one.annotation]
            for part in (*annotations, *child.defaults, *(d for d in child.kw_defaults if d)):
                yield from _free(part, around)
        else:
            yield from _free(child, around if child in outside else inner)


def _evaluated_outside(node: ast.AST) -> list[ast.AST]:
    """Parts of a function that belong to the scope around it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [*node.decorator_list, *([node.returns] if node.returns else [])]
    return []


def _bound_in(scope: ast.AST) -> frozenset[str]:
    """Names that a function, lambda or comprehension binds: arguments, and what is assigned in it."""
    names: set[str] = set()
    pending: list[ast.AST] = [scope]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        if node is not scope and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if node is scope or not isinstance(node, (*Scoped, ast.ClassDef)):
            pending += ast.iter_child_nodes(node)
    return frozenset(names)
