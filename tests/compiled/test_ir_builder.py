"""What `FunctionBuilder` writes, run and compared with the same in Python."""

from __future__ import annotations

import pytest
import torch
from compiled_cases import Guarded, run, vectors_of

from ablate.kernels.compiled.ir_builder import FunctionBuilder, vector_width


@pytest.mark.parametrize("stop", [0, 1, 2, 7])
@pytest.mark.parametrize("step", [1, 3])
def test_a_loop_goes_where_range_goes(stop: int, step: int) -> None:
    code = FunctionBuilder(["out"], ["stop"])
    with code.loop(code.args["stop"], step=step) as i:
        code.store(code.int_to_float(i, 1), code.args["out"], i)
    out = torch.full((8,), -1.0)
    run(code.compile(), [out], [stop])
    assert [int(i) for i in out.tolist() if i >= 0] == list(range(0, stop, step))


def test_loops_nest_and_branches_are_taken_where_a_pointer_is_given() -> None:
    code = FunctionBuilder(["out", "maybe"], ["rows"])
    with code.loop(code.args["rows"]) as i, code.loop(3) as j:
        code.store(
            code.int_to_float(code.isum(code.imul(i, 10), j), 1),
            code.args["out"],
            code.isum(code.imul(i, 3), j),
        )
        with code.if_given("maybe"):
            code.store(code.constant(1, 1), code.args["maybe"], code.isum(code.imul(i, 3), j))
    function, out, maybe = code.compile(), torch.zeros(6), torch.zeros(6)
    run(function, [out, None], [2])
    assert out.tolist() == [0, 1, 2, 10, 11, 12]
    run(function, [out, maybe], [2])
    assert maybe.tolist() == [1] * 6


@pytest.mark.parametrize("width", [8, 16])
def test_sums_in_registers_are_rounded_once_a_term(width: int) -> None:
    with vectors_of(width):
        code = FunctionBuilder(["a", "b", "out"], ["terms"])
        args = code.args
        (total,) = code.dot_products(
            [code.constant(0, width)],
            args["terms"],
            lambda k, i: code.load_broadcast(args["a"], k, width),
            lambda k: code.load(args["b"], code.imul(k, width), width),
        )
        code.store(total, args["out"], 0)
        a, b, out = torch.randn(5), torch.randn(5, width), torch.empty(width)
        run(code.compile(), [a, b, out], [5])
    right = torch.zeros(width, dtype=torch.float64)
    for factor, row in zip(a.double(), b.double(), strict=True):
        right = (
            (right + factor * row).float().double()
        )  # a product of two float32 is exact in float64, and so rounded once
    assert torch.equal(out, right.float())


@pytest.mark.parametrize("width", [8, 16])
def test_a_cut_vector_reads_and_writes_no_more_than_it_should(width: int) -> None:
    for count in range(1, width + 1):
        with vectors_of(width):
            code = FunctionBuilder(["x", "y"], [])
            args = code.args
            code.store_prefix(
                code.fadd(code.load_masked(args["x"], 0, count), code.constant(1, width)), args["y"], 0, count
            )
            guarded = Guarded()
            x, y = guarded.put(torch.randn(count)), guarded.put(torch.zeros(count))
            run(code.compile(), [x, y], [])
        guarded.check()
        assert torch.equal(y, x + 1)


def test_matrices_of_numbers_around_a_matrix_of_vectors() -> None:
    down, across = torch.tensor([[1.0, 0, -2], [0, 0, 0.5]]), torch.tensor([[2.0, 1], [0, 0], [-1, 3]])
    code = FunctionBuilder(["x", "y"], [])
    args, width = code.args, 8
    x = [[code.load(args["x"], (row * 2 + column) * width, width) for column in range(2)] for row in range(3)]
    transformed = code.transform_2d(down.tolist(), x, across.tolist())
    for i, value in enumerate(value for line in transformed for value in line):
        code.store(value, args["y"], i * width)
    given, y = torch.randn(3, 2, width), torch.empty(2, 3, width)
    run(code.compile(), [given, y], [])
    torch.testing.assert_close(y, torch.einsum("ij,jkw,lk->ilw", down, given, across))


@pytest.mark.parametrize(("numbers", "width"), [(64, 16), (24, 8), (12, 4), (10, 2), (7, 1)])
def test_width(numbers: int, width: int) -> None:
    with vectors_of(16):
        assert vector_width(numbers) == width
    with vectors_of(8):
        assert vector_width(numbers) == min(width, 8)


def test_a_number_is_rounded_to_float32_as_torch_does() -> None:
    code = FunctionBuilder(["out"], [])
    code.store(code.constant(0.1, 1), code.args["out"], 0)
    out = torch.empty(1)
    run(code.compile(), [out], [])
    assert torch.equal(out, torch.tensor([0.1]))
