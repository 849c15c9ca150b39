"""Builds one function in LLVM's intermediate language: loops, float32 vectors, accumulators in registers.

Methods whose names begin with `i` compute integers (`isum`, `imul`), as LLVM's begin with `f` for floats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from struct import pack, unpack
from typing import Any, TypeAlias

from llvmlite import ir

from ablate.kernels.compiled.jit import Function, compile_module, simd_width

Value: TypeAlias = Any
"""A scalar or vector of the function under construction (llvmlite is untyped)."""
Count: TypeAlias = "int | Value"
Vectors: TypeAlias = Sequence[Sequence[Value]]
Rows: TypeAlias = Sequence[Sequence[float]]

I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
ADDRESS = ir.PointerType()


def vector_width(numbers: int) -> int:
    """The widest power-of-two vector, up to a register, of which `numbers` is a multiple."""
    width = simd_width()
    while numbers % width:
        width //= 2
    return width


def vector_columns(numbers: int, start: int = 0) -> list[tuple[int, int]]:
    """The columns from `start` on as vectors: (first column, how many are valid)."""
    width = simd_width()
    return [(first, min(width, numbers - first)) for first in range(start, numbers, width)]


def vector_type(width: int) -> ir.VectorType:
    """The LLVM type of a vector of `width` float32."""
    return ir.VectorType(F32, width)


class FunctionBuilder:
    """A function under construction. Its arguments are `pointers` to float32 (not aliased), then int64 `counts`: `args` by name.

    Offsets count elements. `builder`: llvmlite's builder, for operations without a method here.
    """

    def __init__(self, pointers: Sequence[str], counts: Sequence[str]) -> None:
        self.module = ir.Module("ablate")
        self.shape = len(pointers), len(counts)
        kind = ir.FunctionType(ir.VoidType(), [ADDRESS] * len(pointers) + [I64] * len(counts))
        function = ir.Function(self.module, kind, "run")
        for pointer in function.args[: len(pointers)]:
            pointer.add_attribute("noalias")
        self.args = dict(zip([*pointers, *counts], function.args, strict=True))
        self.builder = ir.IRBuilder(function.append_basic_block())

    def compile(self) -> Function:
        """Finish the function and compile it."""
        self.builder.ret_void()
        self._entry()
        return compile_module(self.module, *self.shape)

    def _entry(self) -> None:
        """The entry point with all arguments in one row of int64, as `call_table` calls it."""
        kind = ir.FunctionType(ir.VoidType(), [ADDRESS])
        function = ir.Function(self.module, kind, "entry")
        builder = ir.IRBuilder(function.append_basic_block())
        row, run = function.args[0], self.module.globals["run"]
        result = []
        for i, argument in enumerate(run.args):
            pointer = builder.gep(row, [ir.Constant(I64, i)], source_etype=I64)
            number = builder.load(pointer, typ=I64, align=8)
            result.append(number if argument.type == I64 else builder.inttoptr(number, ADDRESS))
        builder.call(run, result)
        builder.ret_void()

    # integers

    def isum(self, *terms: Count) -> Value:
        """The sum of integers; constants are added at build time."""
        known = sum(term for term in terms if isinstance(term, int))
        result = None if known == 0 and len(terms) > 1 else ir.Constant(I64, known)
        for term in terms:
            if not isinstance(term, int):
                result = term if result is None else self.builder.add(result, term)
        return ir.Constant(I64, known) if result is None else result

    def imul(self, a: Count, b: Count) -> Value:
        """a · b of integers."""
        return self.builder.mul(self.isum(a), self.isum(b))

    def imin(self, a: Count, b: Count) -> Value:
        """The smaller of two integers."""
        a, b = self.isum(a), self.isum(b)
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def imax(self, a: Count, b: Count) -> Value:
        """The larger of two integers."""
        a, b = self.isum(a), self.isum(b)
        return self.builder.select(self.builder.icmp_signed(">", a, b), a, b)

    # control flow

    @contextmanager
    def loop(self, stop: Count, *, step: Count = 1) -> Iterator[Value]:
        """for i in range(0, stop, step)"""
        builder, stop, step = self.builder, self.isum(stop), self.isum(step)
        before, head, body, end = builder.block, *(builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        i = builder.phi(I64)
        i.add_incoming(ir.Constant(I64, 0), before)
        builder.cbranch(builder.icmp_signed("<", i, stop), body, end)
        builder.position_at_end(body)
        yield i
        i.add_incoming(builder.add(i, step), builder.block)
        builder.branch(head)
        builder.position_at_end(end)

    def reduce(
        self, first: Sequence[Value], stop: Count, step: Callable[[Value, Sequence[Value]], list[Value]]
    ) -> list[Value]:
        """A loop with accumulators in registers: `first`, then `step(i, accumulators)` for i in range(stop), at least once."""
        builder, before = self.builder, self.builder.block
        body, end = builder.append_basic_block(), builder.append_basic_block()
        builder.branch(body)
        builder.position_at_end(body)
        i, *phis = (builder.phi(kind) for kind in (I64, *(value.type for value in first)))
        i.add_incoming(ir.Constant(I64, 0), before)
        for phi, value in zip(phis, first, strict=True):
            phi.add_incoming(value, before)
        result = step(i, phis)
        following = builder.add(i, ir.Constant(I64, 1))
        i.add_incoming(following, builder.block)
        for phi, value in zip(phis, result, strict=True):
            phi.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, self.isum(stop)), body, end)
        builder.position_at_end(end)
        return result

    @contextmanager
    def if_given(self, name: str) -> Iterator[None]:
        """Context: code that runs only if the pointer is not null."""
        address = self.builder.ptrtoint(self.args[name], I64)
        with self.builder.if_then(self.builder.icmp_signed("!=", address, ir.Constant(I64, 0))):
            yield

    # memory

    def ptr(self, pointer: Value, *offset: Count) -> Value:
        """The address `offset` elements behind `pointer`."""
        return self.builder.gep(pointer, [self.isum(*offset)], source_etype=F32)

    def load(self, pointer: Value, offset: Count, width: int) -> Value:
        """A vector of `width` float32 (a scalar for width 1) at `offset`."""
        return self.builder.load(self.ptr(pointer, offset), typ=vector_type(width), align=4)

    def store(self, value: Value, pointer: Value, offset: Count) -> None:
        """Store a scalar or vector at `offset`."""
        self.builder.store(value, self.ptr(pointer, offset), align=4)

    def load_broadcast(self, pointer: Value, offset: Count, width: int) -> Value:
        """One element in every lane of a vector."""
        return self.broadcast(self.builder.load(self.ptr(pointer, offset), typ=F32, align=4), width)

    def int_to_float(self, count: Value, width: int) -> Value:
        """An integer as float32 in every lane of a vector."""
        return self.broadcast(self.builder.sitofp(count, F32), width)

    def int_to_ptr(self, count: Value) -> Value:
        """An integer as an address."""
        return self.builder.inttoptr(count, ADDRESS)

    def broadcast(self, number: Value, width: int) -> Value:
        """A scalar in every lane of a vector."""
        empty = ir.Constant(ir.VectorType(number.type, width), ir.Undefined)
        single = self.builder.insert_element(empty, number, ir.Constant(I32, 0))
        indices = ir.Constant(ir.VectorType(I32, width), [0] * width)
        return self.builder.shuffle_vector(single, empty, indices)

    def load_masked(self, pointer: Value, offset: Count, count: int) -> Value:
        """The first `count` elements of a vector; the rest are 0."""
        width = simd_width()
        if count == width:
            return self.load(pointer, offset, width)
        kind, mask = vector_type(width), _mask(width, count)
        function = self._function(f"llvm.masked.load.v{width}f32.p0", kind, [ADDRESS, I32, mask.type, kind])
        address, nothing = self.ptr(pointer, offset), ir.Constant(kind, [0.0] * width)
        return self.builder.call(function, [address, ir.Constant(I32, 4), mask, nothing])

    def store_prefix(self, value: Value, pointer: Value, offset: Count, count: int) -> None:
        """Store only the first `count` elements of a vector, in powers of two: some processors execute masked stores element by element."""
        done = 0
        while done < count:
            some = 1 << (count - done).bit_length() - 1
            self.store(self.shuffle(value, value, range(done, done + some)), pointer, self.isum(offset, done))
            done += some

    def load_strided(self, pointer: Value, offset: Count, stride: int, width: int, count: int = 0) -> Value:
        """`count` elements `stride` apart (0: as many as the vector has)."""
        result = (
            ir.Constant(vector_type(width), [0.0] * width)
            if count
            else ir.Constant(vector_type(width), ir.Undefined)
        )
        for i in range(count or width):
            number = self.builder.load(self.ptr(pointer, offset, i * stride), typ=F32, align=4)
            result = self.builder.insert_element(result, number, ir.Constant(I32, i))
        return result

    def store_strided(self, value: Value, pointer: Value, offset: Count, stride: int) -> None:
        """Store the elements of a vector `stride` apart."""
        for i in range(value.type.count):
            number = self.builder.extract_element(value, ir.Constant(I32, i))
            self.builder.store(number, self.ptr(pointer, offset, i * stride), align=4)

    def fill(self, number: float, pointer: Value, offset: Count, numbers: int) -> None:
        """Set `numbers` elements from `offset` on to `number`."""
        width = vector_width(numbers)
        with self.loop(numbers, step=width) as i:
            self.store(self.constant(number, width), pointer, self.isum(offset, i))

    # arithmetic

    def constant(self, number: float, width: int) -> Value:
        """A constant scalar or vector."""
        return ir.Constant(vector_type(width), [_single(number)] * width)

    def fadd(self, a: Value, b: Value) -> Value:
        """a + b."""
        return self.builder.fadd(a, b)

    def shuffle(self, one: Value, other: Value, indices: Sequence[int]) -> Value:
        """The elements of two vectors at `indices`, those of `other` numbered after those of `one`."""
        return self.builder.shuffle_vector(
            one, other, ir.Constant(ir.VectorType(I32, len(indices)), list(indices))
        )

    def swap_lanes(self, a: Value, apart: int) -> Value:
        """Every element exchanged with the one `apart` from it, a power of two."""
        return self.shuffle(a, a, [index ^ apart for index in range(a.type.count)])

    def sqrt(self, a: Value) -> Value:
        """The square root."""
        return self._intrinsic("sqrt", a)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a · b + c, rounded once."""
        return self._intrinsic("fma", a, b, c)

    def _intrinsic(self, name: str, *values: Value) -> Value:
        kind = values[0].type
        function = self._function(f"llvm.{name}.v{kind.count}f32", kind, [kind] * len(values))
        return self.builder.call(function, values)

    def _function(self, name: str, returns: Any, arguments: list[Any]) -> Any:
        known = self.module.globals.get(name)
        return known or ir.Function(self.module, ir.FunctionType(returns, arguments), name)

    def linear_combination(self, row: Sequence[float], values: Sequence[Value]) -> Value:
        """Σ row · values, summed in order; terms with factor 0 are left out."""
        result = None
        for factor, value in zip(row, values, strict=True):
            if factor == 0:
                continue
            number = self.constant(factor, value.type.count)
            result = self.builder.fmul(value, number) if result is None else self.fma(value, number, result)
        return self.constant(0, values[0].type.count) if result is None else result

    def transform_2d(self, down: Rows, values: Vectors, across: Rows) -> Vectors:
        """down · values · acrossᵀ: constant matrices around a matrix of vectors."""
        half = [
            [self.linear_combination(row, column) for column in zip(*values, strict=True)] for row in down
        ]
        return [[self.linear_combination(row, line) for row in across] for line in half]

    def dot_products(
        self, first: Sequence[Value], stop: Count, left: Callable[[Value, int], Value], right: Callable[[Value], Value]
    ) -> list[Value]:  # fmt: skip
        """`first[i]` + Σₖ left(k, i) · right(k), k below `stop`, for every i."""

        def step(k: Value, sums: Sequence[Value]) -> list[Value]:
            row = right(k)
            return [self.fma(left(k, i), row, before) for i, before in enumerate(sums)]

        return self.reduce(first, stop, step)


def _mask(width: int, count: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(1), width), [int(i < count) for i in range(width)])


def _single(number: float) -> float:
    """The nearest float32, as LLVM requires of a constant."""
    return float(unpack("f", pack("f", number))[0])
