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
    added_to = set()
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Expr) and isinstance(call := statement.value, ast.Call):
            if isinstance(method := call.func, ast.Attribute) and method.attr in ADDING:
                added_to.add(method.value)
        elif isinstance(statement, ast.Assign):
            added_to |= {target.value for target in statement.targets if isinstance(target, ast.Subscript)}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    read = {node.id for node in names if node not in added_to}
    return frozenset(node.id for node in names if node in added_to) - read
