"""Every public definition has a docstring, or implements one that has: a port, a criterion, a method of a documented class."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sweep import sweep

from ablate.catalogue.ports import PORTS

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "ablate").rglob("*.py"))
CONVENTIONAL = {"forward", "backward", "to_json", "from_json", "of_json", "to_dict"}

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def is_setter(node: Definition) -> bool:
    """Whether the definition sets a property, which has its docstring where it is read."""
    return any(isinstance(one, ast.Attribute) and one.attr == "setter" for one in node.decorator_list)


def public(
    body: list[ast.stmt], within: ast.ClassDef | None = None
) -> Iterator[tuple[Definition, ast.ClassDef | None]]:
    """(definition, the class that it is in, if any) of every public definition."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_") and not is_setter(node):
            yield node, within
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, node)


@cache
def trees() -> dict[Path, ast.Module]:
    """The syntax tree of each file of the package."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


@cache
def classes() -> dict[str, ast.ClassDef]:
    """The public and private classes of the package, by name (`test_directions.py`: no two public ones share a name)."""
    return {
        node.name: node
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }


def methods(node: ast.ClassDef) -> dict[str, bool]:
    """The public methods of a class -> whether they have a docstring."""
    return {
        one.name: bool(ast.get_docstring(one))
        for one in node.body
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and not one.name.startswith("_")
    }


def attributes(node: ast.ClassDef) -> set[str]:
    """Names that a class's body assigns or annotates: they stand for properties of a protocol."""
    targets = [one.target for one in node.body if isinstance(one, ast.AnnAssign)]
    targets += [target for one in node.body if isinstance(one, ast.Assign) for target in one.targets]
    return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}


def bases(node: ast.ClassDef) -> list[str]:
    """The last part of the name of each base class: `Module` of `nn.Module`, `Rule` of `Rule[T]`."""
    named = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    return [ast.unparse(base).rpartition(".")[2] for base in named]


@cache
def protocols() -> dict[str, dict[str, bool]]:
    """Protocols of two methods or more: a class that has them all implements it, with or without naming it."""
    documented = {name: methods(node) for name, node in classes().items() if "Protocol" in bases(node)}
    return {name: has for name, has in documented.items() if len(has) > 1}


def inherited(node: ast.ClassDef) -> set[str]:
    """Methods that are documented in a base class within the package, or in a protocol that the class implements."""
    members = {*methods(node), *attributes(node)}
    documented = {
        name
        for protocol in protocols().values()
        if protocol.keys() <= members
        for name, has in protocol.items()
        if has
    }
    for base in bases(node):
        if base in classes() and classes()[base] is not node:
            above = classes()[base]
            documented |= {name for name, has in methods(above).items() if has} | inherited(above)
    return documented


@cache
def criteria_functions() -> set[str]:
    """What a criterion is made of, as `CriterionCode` documents it."""
    return {name for name, has in methods(classes()["CriterionCode"]).items() if has}


def is_exempt(path: Path, node: Definition, within: ast.ClassDef | None) -> bool:
    """Whether a definition implements one that is documented elsewhere."""
    folder = path.relative_to(ROOT / "ablate").parts[:-1]
    if isinstance(node, ast.ClassDef):
        return False
    if within is not None:
        return node.name in CONVENTIONAL or node.name in inherited(within)
    if len(folder) == 2 and folder[0] == "catalogue":
        return node.name in PORTS[folder[1]]
    return folder == ("tasks", "criteria") and node.name in criteria_functions()


@sweep("path", FILES)
def test_public_definitions_have_docstrings(path: Path) -> None:
    missing = [
        node.name
        for node, within in public(trees()[path].body)
        if not ast.get_docstring(node) and not is_exempt(path, node, within)
    ]
    assert not missing


FRAGMENT = ("Of", "As", "Those", "By", "On")
"""Words that begin a docstring which has no subject: what is of, as or by something?"""


@sweep("path", FILES)
def test_docstrings_have_a_subject(path: Path) -> None:
    strings = [
        node.value.value
        for node in ast.walk(trees()[path])
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    fragments = [text.splitlines()[0] for text in strings if text.split(" ", 1)[0] in FRAGMENT]
    assert not fragments
