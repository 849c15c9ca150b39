"""Writes one function in LLVM's intermediate language: loops, vectors of float32, and sums in registers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from struct import pack, unpack
from typing import Any, TypeAlias

from llvmlite import ir

from ablate.kernels.compiled.jit import Function, compiled, floats

Value: TypeAlias = Any
"""A number or a vector that is known when the function runs (llvmlite has no types to check by)."""
Count: TypeAlias = "int | Value"
Vectors: TypeAlias = Sequence[Sequence[Value]]
Rows: TypeAlias = Sequence[Sequence[float]]

I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
ADDRESS = ir.PointerType()


def width_of(numbers: int) -> int:
    """The widest vector of which `numbers` is a multiple: 1, 2, 4, … up to what a register holds."""
    width = floats()
    while numbers % width:
        width //= 2
    return width


def vectors_of(numbers: int, start: int = 0) -> list[tuple[int, int]]:
    """Vectors of columns from `start` on: the first column, how many are meant."""
    width = floats()
    return [(first, min(width, numbers - first)) for first in range(start, numbers, width)]


def vector(width: int) -> ir.VectorType:
    return ir.VectorType(F32, width)


class Code:
    """A function under construction: `pointers` to float32 (which do not overlap), then `counts`. Offsets count numbers.

    `argument[name]` is what it was called with.
    """

    def __init__(self, pointers: Sequence[str], counts: Sequence[str]) -> None:
        self.module = ir.Module("ablate")
        self.shape = len(pointers), len(counts)
        kind = ir.FunctionType(ir.VoidType(), [ADDRESS] * len(pointers) + [I64] * len(counts))
        function = ir.Function(self.module, kind, "run")
        for pointer in function.args[: len(pointers)]:
            pointer.add_attribute("noalias")
        self.argument = dict(zip([*pointers, *counts], function.args, strict=True))
        self.write = ir.IRBuilder(function.append_basic_block())

    def compiled(self) -> Function:
        self.write.ret_void()
        self._entry()
        return compiled(self.module, *self.shape)

    def _entry(self) -> None:
        """The same with all arguments in one row of int64, which is how `calls` calls it."""
        kind = ir.FunctionType(ir.VoidType(), [ADDRESS])
        function = ir.Function(self.module, kind, "entry")
        write = ir.IRBuilder(function.append_basic_block())
        row, run = function.args[0], self.module.globals["run"]
        found = []
        for i, argument in enumerate(run.args):
            place = write.gep(row, [ir.Constant(I64, i)], source_etype=I64)
            number = write.load(place, typ=I64, align=8)
            found.append(number if argument.type == I64 else write.inttoptr(number, ADDRESS))
        write.call(run, found)
        write.ret_void()

    # whole numbers

    def sum(self, *terms: Count) -> Value:
        known = sum(term for term in terms if isinstance(term, int))
        found = None if known == 0 and len(terms) > 1 else ir.Constant(I64, known)
        for term in terms:
            if not isinstance(term, int):
                found = term if found is None else self.write.add(found, term)
        return ir.Constant(I64, known) if found is None else found

    def times(self, a: Count, b: Count) -> Value:
        return self.write.mul(self.sum(a), self.sum(b))

    def least(self, a: Count, b: Count) -> Value:
        a, b = self.sum(a), self.sum(b)
        return self.write.select(self.write.icmp_signed("<", a, b), a, b)

    def most(self, a: Count, b: Count) -> Value:
        a, b = self.sum(a), self.sum(b)
        return self.write.select(self.write.icmp_signed(">", a, b), a, b)

    # where it goes on

    @contextmanager
    def loop(self, stop: Count, *, step: Count = 1) -> Iterator[Value]:
        """for i in range(0, stop, step)"""
        write, stop, step = self.write, self.sum(stop), self.sum(step)
        before, head, body, end = write.block, *(write.append_basic_block() for _ in range(3))
        write.branch(head)
        write.position_at_end(head)
        i = write.phi(I64)
        i.add_incoming(ir.Constant(I64, 0), before)
        write.cbranch(write.icmp_signed("<", i, stop), body, end)
        write.position_at_end(body)
        yield i
        i.add_incoming(write.add(i, step), write.block)
        write.branch(head)
        write.position_at_end(end)

    def gathered(
        self, first: Sequence[Value], stop: Count, step: Callable[[Value, Sequence[Value]], list[Value]]
    ) -> list[Value]:
        """Vectors kept in registers: `first`, then for i in range(stop), at least once, `step(i, vectors)`."""
        write, before = self.write, self.write.block
        body, end = write.append_basic_block(), write.append_basic_block()
        write.branch(body)
        write.position_at_end(body)
        i, *held = (write.phi(kind) for kind in (I64, *(value.type for value in first)))
        i.add_incoming(ir.Constant(I64, 0), before)
        for phi, value in zip(held, first, strict=True):
            phi.add_incoming(value, before)
        found = step(i, held)
        following = write.add(i, ir.Constant(I64, 1))
        i.add_incoming(following, write.block)
        for phi, value in zip(held, found, strict=True):
            phi.add_incoming(value, write.block)
        write.cbranch(write.icmp_signed("<", following, self.sum(stop)), body, end)
        write.position_at_end(end)
        return found

    @contextmanager
    def given(self, name: str) -> Iterator[None]:
        """Only where the pointer is not 0."""
        address = self.write.ptrtoint(self.argument[name], I64)
        with self.write.if_then(self.write.icmp_signed("!=", address, ir.Constant(I64, 0))):
            yield

    # memory

    def at(self, pointer: Value, *offset: Count) -> Value:
        return self.write.gep(pointer, [self.sum(*offset)], source_etype=F32)

    def load(self, pointer: Value, offset: Count, width: int) -> Value:
        return self.write.load(self.at(pointer, offset), typ=vector(width), align=4)

    def store(self, value: Value, pointer: Value, offset: Count) -> None:
        self.write.store(value, self.at(pointer, offset), align=4)

    def spread(self, pointer: Value, offset: Count, width: int) -> Value:
        """One number in every place of a vector."""
        return self.everywhere(self.write.load(self.at(pointer, offset), typ=F32, align=4), width)

    def number(self, count: Value, width: int) -> Value:
        """A whole number in every place of a vector."""
        return self.everywhere(self.write.sitofp(count, F32), width)

    def address(self, count: Value) -> Value:
        return self.write.inttoptr(count, ADDRESS)

    def everywhere(self, number: Value, width: int) -> Value:
        """A number in every place of a vector."""
        empty = ir.Constant(ir.VectorType(number.type, width), ir.Undefined)
        single = self.write.insert_element(empty, number, ir.Constant(I32, 0))
        places = ir.Constant(ir.VectorType(I32, width), [0] * width)
        return self.write.shuffle_vector(single, empty, places)

    def load_some(self, pointer: Value, offset: Count, count: int) -> Value:
        """The first `count` numbers of a vector; the rest are 0."""
        width = floats()
        if count == width:
            return self.load(pointer, offset, width)
        kind, mask = vector(width), _mask(width, count)
        function = self._function(f"llvm.masked.load.v{width}f32.p0", kind, [ADDRESS, I32, mask.type, kind])
        place, nothing = self.at(pointer, offset), ir.Constant(kind, [0.0] * width)
        return self.write.call(function, [place, ir.Constant(I32, 4), mask, nothing])

    def store_some(self, value: Value, pointer: Value, offset: Count, count: int) -> None:
        """The first `count` numbers of a vector; what stands behind them stays. By powers of two: some processors store under a mask
        number by number."""
        done = 0
        while done < count:
            some = 1 << (count - done).bit_length() - 1
            self.store(self.picked(value, value, range(done, done + some)), pointer, self.sum(offset, done))
            done += some

    def load_apart(self, pointer: Value, offset: Count, stride: int, width: int, count: int = 0) -> Value:
        """Numbers that lie `stride` apart, `count` of them (0: as many as the vector has)."""
        found = (
            ir.Constant(vector(width), [0.0] * width) if count else ir.Constant(vector(width), ir.Undefined)
        )
        for i in range(count or width):
            number = self.write.load(self.at(pointer, offset, i * stride), typ=F32, align=4)
            found = self.write.insert_element(found, number, ir.Constant(I32, i))
        return found

    def store_apart(self, value: Value, pointer: Value, offset: Count, stride: int) -> None:
        for i in range(value.type.count):
            number = self.write.extract_element(value, ir.Constant(I32, i))
            self.write.store(number, self.at(pointer, offset, i * stride), align=4)

    def fill(self, number: float, pointer: Value, offset: Count, numbers: int) -> None:
        width = width_of(numbers)
        with self.loop(numbers, step=width) as i:
            self.store(self.constant(number, width), pointer, self.sum(offset, i))

    # arithmetic

    def constant(self, number: float, width: int) -> Value:
        return ir.Constant(vector(width), [_single(number)] * width)

    def add(self, a: Value, b: Value) -> Value:
        return self.write.fadd(a, b)

    def picked(self, one: Value, other: Value, places: Sequence[int]) -> Value:
        """A vector of these places of two, those of `other` counted on from those of `one`."""
        return self.write.shuffle_vector(
            one, other, ir.Constant(ir.VectorType(I32, len(places)), list(places))
        )

    def swapped(self, a: Value, apart: int) -> Value:
        """Every place changed with the one `apart` from it, a power of two."""
        return self.picked(a, a, [place ^ apart for place in range(a.type.count)])

    def root(self, a: Value) -> Value:
        return self._intrinsic("sqrt", a)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a · b + c, rounded once."""
        return self._intrinsic("fma", a, b, c)

    def _intrinsic(self, name: str, *values: Value) -> Value:
        kind = values[0].type
        function = self._function(f"llvm.{name}.v{kind.count}f32", kind, [kind] * len(values))
        return self.write.call(function, values)

    def _function(self, name: str, result: Any, arguments: list[Any]) -> Any:
        known = self.module.globals.get(name)
        return known or ir.Function(self.module, ir.FunctionType(result, arguments), name)

    def combined(self, row: Sequence[float], values: Sequence[Value]) -> Value:
        """Σ row · values, from the first on; what is multiplied by 0 is left out."""
        found = None
        for factor, value in zip(row, values, strict=True):
            if factor == 0:
                continue
            number = self.constant(factor, value.type.count)
            found = self.write.fmul(value, number) if found is None else self.fma(value, number, found)
        return self.constant(0, values[0].type.count) if found is None else found

    def between(self, down: Rows, values: Vectors, across: Rows) -> Vectors:
        """down · values · acrossᵀ, for matrices of numbers around a matrix of vectors."""
        half = [[self.combined(row, column) for column in zip(*values, strict=True)] for row in down]
        return [[self.combined(row, line) for row in across] for line in half]

    def product(
        self, first: Sequence[Value], stop: Count, left: Callable[[Value, int], Value], right: Callable[[Value], Value]
    ) -> list[Value]:  # fmt: skip
        """`first[i]` + Σₖ left(k, i) · right(k), k from 0 to `stop`, for every i."""

        def step(k: Value, sums: Sequence[Value]) -> list[Value]:
            row = right(k)
            return [self.fma(left(k, i), row, before) for i, before in enumerate(sums)]

        return self.gathered(first, stop, step)


def _mask(width: int, count: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(1), width), [int(i < count) for i in range(width)])


def _single(number: float) -> float:
    """The nearest float32, as LLVM wants a constant."""
    return float(unpack("f", pack("f", number))[0])
