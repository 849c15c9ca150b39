"""Mutants of a file: its source with one operator, constant, comparison or axis changed.

Changed are functions and classes; not the record `TRICK`, docstrings, annotations, decorators and what is raised. Mutation operators after DeMillo, Lipton & Sayward 1978.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GUARD = 1e-8
"""Constants below are guards against a division by zero: twice as large they do the same."""
OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.MatMult: ast.Add, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
NAMES = {"minimum": "maximum", "maximum": "minimum", "min": "max", "max": "min", "amin": "amax", "amax": "amin", "sin": "cos", "cos": "sin", "sum": "mean", "mean": "sum"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of a file: the line, what was changed, the statement after the change, and the whole changed source."""

    line: int
    change: str
    code: str
    source: str


def places(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes that may be changed, in the order of the file."""
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            yield from _inside(statement)


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params") or isinstance(
            node, ast.Raise | ast.Assert
        ):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_text(child):
                yield child
                yield from _inside(child)


def _is_text(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Expr) else node
    return isinstance(value, ast.JoinedStr) or (
        isinstance(value, ast.Constant) and isinstance(value.value, str)
    )


def change(node: ast.AST) -> str:
    """Change a node in place; says what was changed, and nothing where there is nothing to change."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float) and not 0 < node.value < GUARD:
        before = node.value
        node.value = before + 1 if isinstance(before, int) else before * 2 or 1.0
        return f"{before} → {node.value}"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        before = ast.unparse(node)
        if isinstance(node.op, ast.USub):
            node.op = ast.UAdd()
        else:
            node.operand = ast.UnaryOp(node.op, node.operand)
        return f"{before} with the other sign"
    if isinstance(node, ast.Attribute) and node.attr in NAMES:
        before, node.attr = node.attr, NAMES[node.attr]
        return f".{before} → .{node.attr}"
    operator = node.ops[0] if isinstance(node, ast.Compare) else getattr(node, "op", None)
    if type(operator) in OPERATORS:
        other = OPERATORS[type(operator)]()
        if isinstance(node, ast.Compare):
            node.ops = [other, *node.ops[1:]]  # type: ignore[list-item]
        else:
            node.op = other  # type: ignore[attr-defined]
        return f"{type(operator).__name__} → {type(other).__name__}"
    return ""


def mutants(path: Path) -> list[Mutant]:
    """Every mutant of a trick's file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    plain = ast.unparse(tree).splitlines()
    all_mutants = []
    for node in list(places(tree)):
        before = dict(node.__dict__)
        words = change(node)
        if words:
            source = ast.unparse(ast.fix_missing_locations(tree))
            code = next(b for a, b in zip(plain, source.splitlines(), strict=True) if a != b)
            all_mutants.append(Mutant(getattr(node, "lineno", 0), words, code.strip(), source))
        node.__dict__.update(before)
    return all_mutants
