"""`nn.Flatten` of K lanes' channels-last maps: `[K, B, P, C]` -> `[K, B, C, P]`.

Each example's matrix is transposed in square tiles of a vector's width, in registers (Eklundh, A Fast Computer Method for Matrix
Transposing, 1972: one exchange of blocks for each power of two).
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import FunctionBuilder, Value, vector_type
from ablate.kernels.compiled.jit import Function, simd_width


@disk_cached
def transposed(positions: int, channels: int, *, backward: bool) -> Function:
    """(x `[K, B, P, C]`, y `[K, B, C, P]`, K, B); backward (grad_y, grad_x, K, B)."""
    rows, columns = (channels, positions) if backward else (positions, channels)
    code = FunctionBuilder(["x", "y"], ["lanes", "examples"])
    args, width = code.args, simd_width()
    high, wide = min(width, rows), min(width, columns)
    undefined = [ir.Constant(vector_type(width), ir.Undefined)] * (width - high)
    with code.loop(code.imul(args["lanes"], args["examples"])) as example:
        base = code.imul(example, rows * columns)
        with code.loop(rows, step=width) as down, code.loop(columns, step=width) as across:
            # The last tile of a side overlaps the one before it.
            row, column = code.imin(down, rows - high), code.imin(across, columns - wide)
            at = code.isum(base, code.imul(row, columns), column)
            tile = [code.load_masked(args["x"], code.isum(at, i * columns), wide) for i in range(high)]
            to = code.isum(base, code.imul(column, rows), row)
            for i, line in enumerate(_transpose_tile(code, [*tile, *undefined])[:wide]):
                code.store_prefix(line, args["y"], code.isum(to, i * rows), high)
    return code.compile()


def _transpose_tile(code: FunctionBuilder, lines: Sequence[Value]) -> list[Value]:
    """The transpose of a square matrix, given by rows: one bit of the indices after another."""
    width, rows, apart = len(lines), list(lines), 1
    while apart < width:
        upper = [index if not index & apart else width + index - apart for index in range(width)]
        lower = [index + apart if not index & apart else width + index for index in range(width)]
        for i in range(width):
            if not i & apart:
                one, other = rows[i], rows[i + apart]
                rows[i], rows[i + apart] = (code.shuffle(one, other, which) for which in (upper, lower))
        apart *= 2
    return rows
