"""Architecture: the permitted imports between packages, and constructs that are forbidden everywhere."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from sweep import sweep

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ablate"
FILES = sorted(PACKAGE.rglob("*.py"))
MAY = {
    "records": set(),
    "seams": {"records"},
    "kernels": {"surgery", "seams", "records"},
    "surgery": {"seams", "records"},
    "tasks": {"surgery", "seams", "records"},
    "ledger": {"records"},
    "catalogue": {"surgery", "seams", "records"},
    "lanes": {"kernels", "catalogue", "tasks", "surgery", "seams", "records"},
    "executors": {"lanes", "catalogue", "tasks", "records"},
    "ranking": {"records"},
    "search": {"records"},
    "protocol": {"lanes", "catalogue", "tasks", "records"},
    "analysis": {"ranking", "ledger", "records"},
    "report": {"analysis", "ranking", "ledger", "catalogue", "records"},
    "study": {
        "report", "analysis", "ranking", "search", "protocol", "executors", "lanes", "kernels", "catalogue", "tasks", "ledger",
        "records",
    },
    "export": {
        "study", "report", "ranking", "lanes", "catalogue", "tasks", "surgery", "seams", "ledger", "records",
    },
    "api": {"export", "study", "search", "protocol", "report", "ranking", "lanes", "catalogue", "tasks", "ledger", "records"},
    "cli": {
        "api", "study", "report", "ranking", "search", "executors", "lanes", "catalogue", "tasks", "ledger", "records",
    },
}  # fmt: skip
"""Package -> the packages that it may import."""


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """All nodes of a file's syntax tree: parsed once for all tests."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def imports(path: Path) -> set[str]:
    modules = set()
    for node in nodes_of(path):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return modules


@sweep("path", FILES)
def test_imports_go_one_way(path: Path):
    room = path.relative_to(PACKAGE).parts[0]
    if room not in MAY:
        return  # the public face: __init__, testing
    for module in imports(path):
        parts = module.split(".")
        if parts[0] == "ablate" and len(parts) > 1 and parts[1] != room:
            assert parts[1] in MAY[room], f"{room} must not import {module}"


def import_cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    cycles: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in index:
                visit(other)
            if other in stack:
                low[module] = min(low[module], low[other])
        if low[module] == index[module]:
            members = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(members) > 1:
                cycles.append(sorted(members))

    for module in graph:
        if module not in index:
            visit(module)
    return cycles


def import_graph(*folders: str) -> dict[str, set[str]]:
    """Module -> the modules that it imports anywhere: also within functions and for type checking only.

    `ablate` itself is left out: it is the public face, which imports lazily whatever is asked of it.
    """
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path != PACKAGE / "__init__.py"
    }
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        imported: set[str] = set()
        for node in nodes_of(path):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                imported |= {name if name in files else node.module for name in names}
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
        graph[module] = (imported & files.keys()) - {module}
    return graph


def test_no_modules_import_each_other():
    assert import_cycles(import_graph("ablate", "bench")) == []


def test_import_cycles_are_found():
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": set(), "f": {"g", "a"}, "g": {"f"}}
    assert sorted(import_cycles(graph)) == [["a", "b", "c"], ["f", "g"]]


def test_every_permitted_import_is_used():
    """A permission that nobody uses is removed, so that the table shows the dependencies that exist."""
    used: dict[str, set[str]] = {room: set() for room in MAY}
    for path in FILES:
        room = path.relative_to(PACKAGE).parts[0]
        if room in MAY:
            used[room] |= {
                module.split(".")[1] for module in imports(path) if module.startswith("ablate.")
            } - {room}
    assert {room: MAY[room] - used[room] for room in MAY if MAY[room] - used[room]} == {}


def test_pre_commit_uses_the_pinned_versions():
    pinned = dict(re.findall(r"^(ruff|mypy)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    config = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert f"rev: v{pinned['ruff']}\n" in config
    assert f"which has {pinned['mypy']} " in config


@sweep("path", sorted((PACKAGE / "catalogue").glob("*/*.py")))
def test_a_trick_imports_no_other_trick_and_no_engine(path: Path):
    for module in imports(path):
        if module.startswith("ablate"):
            assert module.split(".")[1] in {"records", "seams", "surgery"}, module


def test_only_search_imports_optuna():
    importers = {
        path.relative_to(PACKAGE).parts[0]
        for path in FILES
        if any(module.split(".")[0] == "optuna" for module in imports(path))
    }
    assert importers == {"search"}


@pytest.mark.parametrize(
    "command", [["--help"], ["tricks"], ["tricks", "dropout"], ["tasks"], ["study", "--help"]]
)
def test_quick_commands_import_nothing_heavy(command: list[str]):
    probe = (
        "import sys\nfrom ablate.cli.app import main\nsys.argv = ['ablate', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code, done.code\n"
        "heavy = {'torch', 'optuna', 'pandas', 'seaborn', 'sklearn', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


FORBIDDEN = {
    "eval": r"(?<![\w.])eval\(",
    "exec": r"(?<![\w.])exec\(",
    "pickle.load": r"pickle\.loads?\(",
    "yaml.load": r"yaml\.load\(",
    "unsafe torch.load": r"weights_only\s*=\s*False",
    "bare except": r"except\s*:",
}


@sweep("path", FILES)
def test_nothing_forbidden_stands_in_the_package(path: Path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        for what, pattern in FORBIDDEN.items():
            assert not re.search(pattern, line), f"{path.name}:{number}: {what}"


@sweep("path", FILES)
def test_no_error_is_swallowed(path: Path):
    """A handler for any exception at all raises it again, or says beside it why it does not."""
    text = path.read_text(encoding="utf-8")
    for node in nodes_of(path):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            if ast.unparse(node.type) not in ("Exception", "BaseException"):
                continue
            reraised = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            said = re.search(r"# noqa: BLE001 - \w", text.splitlines()[node.lineno - 1])
            assert reraised or said, f"{path.name}:{node.lineno}"


def test_every_torch_load_is_safe():
    for path in FILES:
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)


MOST_PARAMETERS = 12
TASK = "ablate/tasks/task.py:__init__"
"""Task's constructor: its keywords are the fields of the record that a user writes down, as a dataclass's would be."""


def parameters_of(path: Path) -> dict[str, int]:
    """`file:function` -> number of parameters."""
    counts = {}
    for node in nodes_of(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            named = (*given.posonlyargs, *given.args, *given.kwonlyargs)
            counts[f"{path.relative_to(ROOT).as_posix()}:{node.name}"] = sum(
                1 for one in (*named, given.vararg, given.kwarg) if one and one.arg not in ("self", "cls")
            )
    return counts


@sweep("path", FILES)
def test_no_function_has_more_than_twelve_parameters(path: Path):
    long = {name: n for name, n in parameters_of(path).items() if n > MOST_PARAMETERS and name != TASK}
    assert not long, long


def test_files_hold_one_idea_each():
    long = {path.name: n for path in FILES if (n := len(path.read_text(encoding="utf-8").splitlines())) > 300}
    assert not long, long


STAND_INS = {"Settings", "Site"}
"""Classes of `export/plain.py` that stand for the engine's in an exported script, and so have their names."""


def test_no_two_classes_share_a_name():
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path.relative_to(PACKAGE).as_posix())
    shared = {name: files for name, files in places.items() if len(files) > 1 and name not in STAND_INS}
    assert not shared, shared
