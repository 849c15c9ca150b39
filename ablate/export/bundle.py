"""Functions and classes of several modules as one flat text: each with what it uses, in an executable order.

Names that two modules share get the module's name in front. What comes from an installed library stays an import.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from ablate.export.source_module import Definition, Imported, SourceModule, defined, first_line, free_names
from ablate.records.errors import InputError
from ablate.records.library_folders import is_installed

Symbol = tuple[str, str]
"""(module, name)"""
PLAIN = (bool, int, float, str, type(None))
REQUIRED = "torch"
"""What a script imports, whether installed or built in a checkout."""


@dataclass
class Bundle:
    """Definitions in the order in which they were added, each after what it uses.

    `replaced`: a symbol -> the one that replaces it in a script. `modules`: those that are not importable by name, such as
    a user's task file, by the names that they have here.
    """

    replaced: Mapping[Symbol, Symbol] = field(default_factory=dict)
    modules: dict[str, SourceModule] = field(default_factory=dict)
    live: dict[str, ModuleType] = field(default_factory=dict)
    imports: dict[str, Imported] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    _names: dict[Symbol, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def reserve(self, *names: str) -> None:
        """Keep `names` free: the text around the bundle uses them."""
        self._taken |= set(names)

    def add(self, module: str, name: str, wish: str = "") -> str:
        """The name by which the text has `module`'s `name`, which is put into it with what it uses; `wish`: if it is free.

        Raises InputError for what has no source, and for what cannot be part of one file.
        """
        symbol = self.replaced.get((module, name), (module, name))
        if symbol in self._names:
            return self._names[symbol]
        module, name = symbol
        source = self.source(module)
        if name in source.imports and name not in source.definitions:
            return self._imported(source.imports[name], name)
        node = source.definitions.get(name)
        if node is None:
            raise InputError(f"'{name}' of {source.path} is no function, class or constant of that file")
        for defined_name in defined(node):
            self._names[module, defined_name] = self.free_name(
                wish if defined_name == name and wish else defined_name, module
            )
        text = self.text(source, node)
        self.parts.append(text)
        return self._names[symbol]

    def imported(self, module: str, attribute: str) -> str:
        """The name of an installed module's `attribute` ("": of the module itself), which is imported."""
        return self._imported(Imported(module, attribute), attribute or module)

    def text(
        self,
        source: SourceModule,
        node: Definition | ast.expr,
        *,
        header: bool = True,
        literals: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        """The text of `node` with the names that it uses as they are in the bundle; they are added first.

        `header`: it is a definition of a module. `literals`: plain values to write in place of names.
        """
        lines = source.text(node)
        edits: list[tuple[int, int, int, str]] = []
        if header and isinstance(node, ast.Assign | ast.AnnAssign) and (value := self._value(source, node)):
            return value
        for use in free_names(node):
            new = repr(literals[use.id]) if use.id in literals else self._resolved(source, use.id)
            if new != use.id:
                edits.append((use.lineno, use.col_offset, len(use.id.encode()), new))
        if header:
            edits += self._header(source, node)
        start = first_line(node)
        for line, column, length, new in sorted(edits, reverse=True):
            old = lines[line - start]
            lines[line - start] = old[:column] + new.encode() + old[column + length :]
        if isinstance(node, ast.expr):
            return self._expression(node, lines)
        return b"\n".join(lines).decode()

    @staticmethod
    def _expression(node: ast.expr, lines: list[bytes]) -> str:
        """An expression with nothing around it. (What was put in may have changed its end: it is parsed again.)"""
        lines[0] = lines[0][node.col_offset :]
        text = b"\n".join(lines).decode()
        for end in range(len(text), 0, -1):
            try:
                parsed = ast.parse(f"({text[:end]}\n)", mode="eval")
            except SyntaxError:
                continue
            if type(parsed.body) is type(node):
                return text[:end]
        raise InputError(f"'{text}' cannot be read as an expression")

    def _header(self, source: SourceModule, node: Definition | ast.expr) -> list[tuple[int, int, int, str]]:
        """Edits of the definition's own name, if it has another one here."""
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [part for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
            return [(n.lineno, n.col_offset, len(n.id.encode()), self._names[source.name, n.id]) for n in names if isinstance(n.ctx, ast.Store)]  # fmt: skip
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return []
        line = source.lines[node.lineno - 1]
        match = re.compile(rb"\b(?:def|class)\s+(" + node.name.encode() + rb")\b").search(
            line, node.col_offset
        )
        assert match is not None
        return [(node.lineno, match.start(1), len(node.name.encode()), self._names[source.name, node.name])]

    def _value(self, source: SourceModule, node: ast.Assign | ast.AnnAssign) -> str:
        """`NAME = 3` where a user's module holds a plain number or text, however it was computed; "" elsewhere."""
        names = defined(node)
        module = self.live.get(source.name)
        if module is None or len(names) != 1 or source.name.startswith("ablate."):
            return ""
        value = getattr(module, names[0], None)
        if not is_plain(value):
            return ""
        return f"{self._names[source.name, names[0]]} = {value!r}"

    def _resolved(self, source: SourceModule, name: str) -> str:
        if name in source.definitions:
            return self.add(source.name, name)
        if name in source.imports:
            return self._imported(source.imports[name], name)
        if hasattr(builtins, name) or name.startswith("__"):
            return name
        live = self.live.get(source.name)
        if live is not None and is_plain(getattr(live, name, live)):
            return repr(getattr(live, name))
        raise InputError(f"{source.path} uses '{name}', which no line of that file defines")

    def _imported(self, imported: Imported, name: str) -> str:
        symbol = (imported.module, imported.attribute)
        if symbol in self.replaced or self.is_own(imported.module):
            if imported.attribute and self._is_module(f"{imported.module}.{imported.attribute}"):
                raise InputError(
                    f"'{name}' is a whole module of your own",
                    hint=f"write: from {imported.module}.{imported.attribute} import NAME",
                )
            if not imported.attribute:
                raise InputError(
                    f"'{imported.module}' is a whole module of your own",
                    hint=f"write: from {imported.module} import NAME",
                )
            return self.add(*symbol)
        earlier = self.imports.get(name)
        if earlier is not None and earlier != imported:
            same = (alias for alias, other in self.imports.items() if other == imported)
            name = next(same, "") or self.free_name(name, imported.module)
        self.imports[name] = imported
        self._taken.add(name)
        return name

    def source(self, module: str) -> SourceModule:
        """The text of `module`. Raises InputError where it has none."""
        if module not in self.modules:
            loaded = sys.modules.get(module)
            path = getattr(loaded, "__file__", None)
            if path is None:
                spec = importlib.util.find_spec(module)
                path = spec.origin if spec else None
            if path is None or not str(path).endswith(".py"):
                raise InputError(f"'{module}' has no Python source that could be written out")
            self.modules[module] = SourceModule.read(module, Path(path))
            if loaded is not None:
                self.live[module] = loaded
        return self.modules[module]

    def trick_module(self, module: ModuleType, path: Path) -> str:
        """The name that a trick's file, loaded as `module`, has here. One of the user's own is read, for it cannot be imported by name."""
        if module.__name__ in sys.modules:
            return module.__name__
        self.modules.setdefault(module.__name__, SourceModule.read(module.__name__, path))
        self.live[module.__name__] = module
        return module.__name__

    def is_own(self, module: str) -> bool:
        """Whether a module is written out: ablate's, and those of the user's that are not installed."""
        top = module.partition(".")[0]
        if module in self.modules or top == "ablate":
            return True
        if top in sys.stdlib_module_names or top in sys.builtin_module_names or top == REQUIRED:
            return False
        path = getattr(sys.modules.get(module), "__file__", None)
        return path is not None and not is_installed(Path(path).resolve())

    def _is_module(self, name: str) -> bool:
        return name in sys.modules

    def free_name(self, name: str, module: str) -> str:
        """`name`, prefixed with the module's if it is taken; it is then reserved."""
        if name in self._taken or name in self.imports:
            name = f"{module.rpartition('.')[2]}_{name}"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def has(self, name: str) -> bool:
        """Whether the text defines `name`."""
        return name in self._names.values()

    def import_lines(self) -> list[str]:
        """The imports, sorted: `from` imports of one module on one line."""
        together: dict[str, list[str]] = {}
        whole = []
        for name, imported in self.imports.items():
            if imported.attribute:
                renamed = "" if name == imported.attribute else f" as {name}"
                together.setdefault(imported.module, []).append(imported.attribute + renamed)
            else:
                whole.append(imported.statement(name))
        return [*sorted(whole), *(f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(together.items()))]  # fmt: skip


def is_plain(value: Any) -> bool:
    """Whether `repr` writes the value: a number, text, None, or tuples, lists and dicts of these."""
    if isinstance(value, PLAIN):
        return value == value and value not in (float("inf"), float("-inf"))
    if type(value) in (tuple, list):
        return all(map(is_plain, value))
    return type(value) is dict and all(is_plain(part) for pair in value.items() for part in pair)
