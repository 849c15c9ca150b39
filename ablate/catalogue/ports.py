"""The ports of each seam: the functions by which the engine calls a trick, found by their names."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.records.trick import SEAMS

PORTS: Mapping[str, frozenset[str]] = {
    "data": frozenset({"batch", "batch_size", "position", "sample"}),
    "model": frozenset({"model"}),
    "criterion": frozenset(
        {"target", "logits", "example_loss", "example_weight", "mean_loss", "penalty", "project", "model"}
    ),
    "objective": frozenset({"objective"}),
    "gradient": frozenset({"gradient"}),
    "optimizer": frozenset({"state", "update", "decay", "scored", "rests"}),
    "schedule": frozenset({"factor"}),
    "precision": frozenset({"context", "begin", "scale", "unscale", "model"}),
    "evaluation": frozenset({"begin", "average", "averaged", "choose", "views", "ensemble"}),
}


def unused_functions(path: Path) -> list[str]:
    """Functions of a module that nothing else in it refers to: its ports, and dead or misspelt functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    uses = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    for function in functions:  # a recursive call does not count as a use
        uses[function.name] -= sum(
            isinstance(n, ast.Name) and n.id == function.name for n in ast.walk(function)
        )
    return [function.name for function in functions if uses[function.name] <= 0]


def ports_of(code: Any) -> set[str]:
    """The names of the functions in a trick's module that are ports of some seam."""
    ports = frozenset().union(*(PORTS[seam] for seam in SEAMS))
    return {
        port
        for port in ports
        if inspect.isfunction(getattr(code, port, None)) and getattr(code, port).__module__ == code.__name__
    }
