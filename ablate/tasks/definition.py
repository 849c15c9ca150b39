"""What a task trains, as two hashes: the structure of its model, and the code that makes and trains it.

Code is compared as syntax trees, so that comments, docstrings and layout do not count, and only what the model, the loss and the
metrics reach: functions, classes and values of the same file by name, and modules in the same folder as wholes.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

from torch import nn

import ablate
from ablate.tasks.packing import Adapted
from ablate.tasks.task import Task

LIBRARIES = tuple(
    {str(Path(sysconfig.get_path(kind)).resolve()) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {str(Path(ablate.__file__).resolve().parent)}
)
SETTINGS = ("criterion", "kind", "batch_size", "flips")
"""Settings of a task that change a run; epochs are part of a run's identity, data has a hash of its own."""


def definition(task: Task, module: nn.Module) -> dict[str, str]:
    """`{"structure": …, "code": …}`, SHA-256 in hexadecimal. `module`: one that `task.model` made."""
    parts = [re.sub(r" at 0x[0-9a-f]+", "", repr(module))]
    parts += [f"{name} {list(value.shape)} {value.dtype}" for name, value in module.state_dict().items()]
    parts += [f"{name}={getattr(task, name)!r}" for name in SETTINGS]
    return {"structure": _sha256(parts), "code": _sha256(sorted(set(_code(_roots(task, module)))))}


def _sha256(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()


def _roots(task: Task, module: nn.Module) -> list[Any]:
    """The functions and classes of the user that training calls."""
    model = task.model.factory if isinstance(task.model, Adapted) else task.model
    metrics = [metric.function for metric in task.metrics.values()]
    layers = {base for layer in module.modules() for base in type(layer).__mro__}
    return [model, task.loss, *metrics, *layers]


def _code(roots: Iterable[Any]) -> Iterator[str]:
    files: dict[Path, set[ast.AST]] = {}
    for root in roots:
        if file := _file(root):
            files.setdefault(file, set()).update(_nodes(root, _tree(file)))
    while files:
        file, nodes = files.popitem()
        for node in _reached(nodes, _names(_tree(file)) if nodes else {}):
            yield ast.dump(node, annotate_fields=False)
            for other in _neighbours(node):
                yield ast.dump(_tree(other), annotate_fields=False)


def _file(root: Any) -> Path | None:
    """The file of a function or class of the user; None for a library's, and where there is no file."""
    code = getattr(root, "__code__", None)
    if inspect.isclass(root):
        code = next((f.__code__ for f in vars(root).values() if isinstance(f, FunctionType)), None)
    return _user_file(code.co_filename) if code else None


def _user_file(name: str | None) -> Path | None:
    file = Path(name or "").resolve()
    return file if file.is_file() and not str(file).startswith(LIBRARIES) else None


_trees: dict[tuple[Path, bytes], ast.Module] = {}


def _tree(file: Path) -> ast.Module:
    """The file's syntax tree without docstrings. One object for one content."""
    content = file.read_bytes()
    if (file, content) not in _trees:
        tree = ast.parse(content)
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, False) is not None:  # fmt: skip
                node.body = node.body[1:] or [ast.Pass()]
        _trees[file, content] = tree
    return _trees[file, content]


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
            defined = [node.name]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined = [(alias.asname or alias.name).split(".")[0] for alias in node.names]
        else:
            defined = [
                one.id
                for one in ast.walk(node)
                if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
            ]
        for name in defined:
            names.setdefault(name, []).append(node)
    return names


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


def _neighbours(node: ast.AST) -> Iterator[Path]:
    """The user's own modules that an import statement names."""
    if isinstance(node, ast.ImportFrom):
        modules = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    else:
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    for name in modules:
        if file := _user_file(getattr(sys.modules.get(name), "__file__", None)):
            yield file
