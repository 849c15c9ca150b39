"""A function of the user's as text: what makes the model, a loss, a metric. What it uses is written out too."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
import types
from typing import Any

from torch import Tensor, nn

from ablate.export.bundle import Bundle, is_plain
from ablate.export.source_module import SourceModule
from ablate.records.errors import InputError

DEPRECATED = ("size_average", "reduce")
"""Arguments of torch's losses that became `reduction`, and are not kept."""


def call_text(bundle: Bundle, function: Any, what: str) -> str:
    """An expression that stands for `function`: a name, a lambda, a `partial`, or torch's own module with its settings.

    `what`: for errors, "the model". Raises InputError where there is no source, or where it holds values that have no literal.
    """
    if isinstance(function, functools.partial):
        given = [_literal(value, what) for value in function.args]
        given += [f"{key}={_literal(value, what)}" for key, value in function.keywords.items()]
        partial = bundle.imported("functools", "partial")
        return f"{partial}({', '.join([call_text(bundle, function.func, what), *given])})"
    if isinstance(function, nn.Module) and type(function).__module__.startswith("torch.nn."):
        return _torch_module(function, what)
    if not isinstance(function, types.FunctionType | types.BuiltinFunctionType | type):
        raise InputError(
            f"{what} is an object of type {type(function).__name__}, which cannot be written out",
            hint="give a function or a class of a file",
        )
    module = function.__module__
    if bundle.is_own(module):
        source = bundle.source(module)
        if function.__qualname__ == function.__name__ and function.__name__ in source.definitions:
            return bundle.add(module, function.__name__)
        if isinstance(function, types.FunctionType):
            return _inner(bundle, source, function, what)
        raise InputError(
            f"{what} is defined within a function", hint="define it at the top level of its file"
        )
    if function.__qualname__ != function.__name__:
        raise InputError(f"{what} is '{function.__qualname__}' of {module}, which cannot be imported by name")
    return bundle.imported(module, function.__name__)


def _inner(bundle: Bundle, source: SourceModule, function: types.FunctionType, what: str) -> str:
    """A lambda, or a function defined in another. Values that it closes over are written as literals."""
    node = _node_of(source, function, what)
    around = inspect.getclosurevars(function).nonlocals
    for name, value in around.items():
        if not is_plain(value):
            raise InputError(
                f"{what} uses '{name}' of the function around it, which is a {type(value).__name__}",
                hint="define the function at the top level of its file",
            )
    if isinstance(node, ast.Lambda):
        text = bundle.text(source, node, literals=around)
        return f"({text})"
    text = textwrap.dedent(bundle.text(source, node, header=False, literals=around))
    name = bundle.free_name(function.__name__, source.name)
    bundle.parts.append(text.replace(f"def {function.__name__}(", f"def {name}(", 1))
    return name


def _node_of(source: SourceModule, function: types.FunctionType, what: str) -> Any:
    code = function.__code__
    kind = ast.Lambda if function.__name__ == "<lambda>" else ast.FunctionDef
    nodes = [
        node
        for node in ast.walk(source.tree)
        if isinstance(node, kind)
        and _line(node) == code.co_firstlineno
        and (isinstance(node, ast.Lambda) or node.name == function.__name__)
    ]
    if len(nodes) > 1 and kind is ast.Lambda:
        columns = {column for _, _, column, _ in code.co_positions() if column}
        nodes = [
            node for node in nodes if any(node.col_offset <= c <= (node.end_col_offset or 0) for c in columns)
        ]
    if len(nodes) != 1:
        raise InputError(
            f"{what} cannot be found in {source.path}", hint="define it at the top level of its file"
        )
    return nodes[0]


def _line(node: ast.Lambda | ast.FunctionDef) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)])


def _torch_module(module: nn.Module, what: str) -> str:
    """The call that makes a module of torch anew, with the settings that it keeps under the names of its arguments; its repr leaves
    those of a loss out."""
    kind = type(module)
    given = []
    for name, parameter in inspect.signature(kind).parameters.items():
        if name in DEPRECATED:
            continue
        if not hasattr(module, name):
            raise InputError(
                f"{what} is a {kind.__name__}, whose settings cannot be read",
                hint="give a function of a file",
            )
        value = getattr(module, name)
        if isinstance(value, Tensor):
            given.append(f"{name}=torch.tensor({value.tolist()!r}, dtype={value.dtype})")
        elif value != parameter.default:
            given.append(f"{name}={_literal(value, what)}")
    return f"nn.{kind.__name__}({', '.join(given)})"


def _literal(value: Any, what: str) -> str:
    if not is_plain(value):
        raise InputError(
            f"{what} is called with a {type(value).__name__}, which cannot be written out",
            hint="make it within the function",
        )
    return repr(value)
