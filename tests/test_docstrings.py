"""Every public definition has a docstring, or implements one that has: a port, a criterion, a method of a documented class."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sweep import sweep

from ablate.catalogue.ports import PORTS

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "ablate").rglob("*.py"))
CONVENTIONAL = {"forward", "backward", "to_json", "from_json", "to_dict"}

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(body: list[ast.stmt], *, in_class: bool = False) -> Iterator[tuple[Definition, bool]]:
    """(definition, whether it is within a class) of every public definition."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node, in_class
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, in_class=True)


@cache
def trees() -> dict[Path, ast.Module]:
    """The syntax tree of each file of the package."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


@cache
def documented_methods() -> set[str]:
    """Names of methods that have a docstring in at least one class."""
    return {
        node.name
        for tree in trees().values()
        for node, in_class in public(tree.body)
        if in_class and ast.get_docstring(node)
    }


def is_exempt(path: Path, node: Definition, in_class: bool) -> bool:
    folder = path.relative_to(ROOT / "ablate").parts[:-1]
    if isinstance(node, ast.ClassDef):
        return False
    if in_class:
        return node.name in CONVENTIONAL | documented_methods()
    if len(folder) == 2 and folder[0] == "catalogue":
        return node.name in PORTS[folder[1]]
    return folder == ("tasks", "criteria") and node.name in documented_methods()


@sweep("path", FILES)
def test_public_definitions_have_docstrings(path: Path) -> None:
    missing = [
        node.name
        for node, in_class in public(trees()[path].body)
        if not ast.get_docstring(node) and not is_exempt(path, node, in_class)
    ]
    assert not missing
