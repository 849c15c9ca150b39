"""Flattening of K lanes' maps: `[K, B, P, C]`, channels innermost, -> `[K, B, C, P]`, what nn.Flatten gives of channels-first maps.

Each example's matrix is turned tile by tile, a tile as wide as a vector and as high: it is loaded by rows, turned in registers and
stored by rows, so no number is moved alone. (Eklundh, A Fast Computer Method for Matrix Transposing, 1972: one exchange of blocks
for each power of two.) Numbers are moved and not computed: they keep every bit.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import Code, Value, vector
from ablate.kernels.compiled.jit import Function, floats


@disk_cached
def turned(places: int, channels: int, *, back: bool) -> Function:
    """(x `[K, B, P, C]`, y `[K, B, C, P]`, K, B); back the other way, (y, x, K, B)."""
    rows, columns = (channels, places) if back else (places, channels)
    code = Code(["x", "y"], ["lanes", "examples"])
    of, width = code.argument, floats()
    high, wide = min(width, rows), min(width, columns)
    undefined = [ir.Constant(vector(width), ir.Undefined)] * (width - high)
    with code.loop(code.times(of["lanes"], of["examples"])) as example:
        base = code.times(example, rows * columns)
        with code.loop(rows, step=width) as down, code.loop(columns, step=width) as across:
            # What is left over of a side is turned with what lies before it, once more.
            row, column = code.least(down, rows - high), code.least(across, columns - wide)
            at = code.sum(base, code.times(row, columns), column)
            tile = [code.load_some(of["x"], code.sum(at, i * columns), wide) for i in range(high)]
            to = code.sum(base, code.times(column, rows), row)
            for i, line in enumerate(_turned(code, [*tile, *undefined])[:wide]):
                code.store_some(line, of["y"], code.sum(to, i * rows), high)
    return code.compiled()


def _turned(code: Code, lines: Sequence[Value]) -> list[Value]:
    """A square matrix, turned: row i's place j goes to row j's place i, one bit of i and j after another."""
    width, found, apart = len(lines), list(lines), 1
    while apart < width:
        upper = [place if not place & apart else width + place - apart for place in range(width)]
        lower = [place + apart if not place & apart else width + place for place in range(width)]
        for i in range(width):
            if not i & apart:
                one, other = found[i], found[i + apart]
                found[i], found[i + apart] = (code.picked(one, other, which) for which in (upper, lower))
        apart *= 2
    return found
