"""Logs in user code: names that a function only adds to, so that what it computes cannot depend on them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from types import FunctionType

ADDING = frozenset({"append", "appendleft", "extend", "add", "update"})
"""Methods of containers that return nothing of what is in them."""


def write_only(function: FunctionType) -> frozenset[str]:
    """The names that `function` adds to and never reads: `LOG.append(x)` and `LOG[key] = x` as statements. Empty where its source is unknown."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return frozenset()
    written, logs = set(), set()
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Expr) and isinstance(call := statement.value, ast.Call):
            if isinstance(method := call.func, ast.Attribute) and method.attr in ADDING:
                logs.add(method.value)
        elif isinstance(statement, ast.Assign):
            logs |= {target.value for target in statement.targets if isinstance(target, ast.Subscript)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            written.add((node.id, node in logs))
    return frozenset(name for name, log in written if log and (name, False) not in written)
