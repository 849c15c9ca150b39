"""Mutants of a small file: what is changed, and what is left alone."""

from __future__ import annotations

import ast
from pathlib import Path

from bench.mutants import mutants

SOURCE = '''"""A docstring with 1 + 1."""

LIMIT = 3


def f(x: int, y: "int" = 2) -> int:
    """Says 4 * 4."""
    if x < 0:
        raise ValueError("below 0" + str(1 - x))
    return -x + y * x.sum(dim=1).clamp(min=1e-12)


TRICK = f(1, 2)
'''


def test_each_mutant_is_one_change_of_a_function(tmp_path: Path) -> None:
    file = tmp_path / "f.py"
    file.write_text(SOURCE)
    listed = mutants(file)
    assert [one.change for one in listed] == [
        "2 → 3", "Lt → LtE", "0 → 1", "Add → Sub", "-x with the other sign", "Mult → Div", ".sum → .mean", "1 → 2",
    ]  # fmt: skip
    assert [one.line for one in listed] == [6, 8, 8, 10, 10, 10, 10, 10]
    plain = ast.unparse(ast.parse(SOURCE)).splitlines()
    for one in listed:
        changed = [(a, b) for a, b in zip(plain, one.source.splitlines(), strict=True) if a != b]
        assert len(changed) == 1
        assert "TRICK" not in changed[0][0]
