"""Batch, group, layer, instance and root mean square norm of K lanes, each lane with its own norm.

    y = γ_c (x − μ) / √(σ² + ε) + β_c

Activations are `[K, B, P, C]`, contiguous: P positions, C channels. `norm_pass.py` says how `lanes`, `numbers` and `parts` describe each lane's
norm; `FORWARD` and `BACKWARD` are the tensors of a row of `parts`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ablate.kernels.compiled.code_cache import disk_cached
from ablate.kernels.compiled.ir_builder import Count, Value
from ablate.kernels.compiled.jit import Function
from ablate.kernels.compiled.norm_pass import BATCH, STORED, NormPass

FORWARD = ("weight", "bias", "running_mean", "running_var")
BACKWARD = ("weight", "grad_weight", "grad_bias", "none")


@disk_cached
def forward(channels: int) -> tuple[Function, int]:
    """(x, y, saved `[K, B, 2, C]`, numbers, workspace, lanes, parts, K, B, P); and the workspace in floats."""
    layer = NormPass(channels, ("x", "y", "saved"), FORWARD)
    code, args, width, workspace = layer.code, layer.args, layer.width, layer.args["workspace"]
    builder, spread = code.builder, channels  # offset of the variance in the workspace

    def standardise(lane: Value, at: Value, rows: Value, saved: Value) -> None:

        def x(row: Value, c: Value) -> Value:
            return code.load(args["x"], code.isum(at, code.imul(row, channels), c), width)

        def each(do: Callable[[Value], Value], to: Value, offset: Value) -> None:
            with code.loop(channels, step=width) as c:
                code.store(do(c), to, code.isum(offset, c))

        def mean_of(do: Callable[[Value, Value], Value], members: Value, to: Value, offset: Value) -> None:
            """The means of do(row, c) over `members` channels."""
            share = layer.share(rows, members)
            each(
                lambda c: layer.chunked_sums(rows, 1, lambda row, sums: [code.fadd(sums[0], do(row, c))])[0],
                workspace, code.isum(0),
            )  # fmt: skip
            layer.sum_groups(0, members)
            each(lambda c: builder.fmul(code.load(workspace, c, width), share), to, offset)

        def squared(row: Value, c: Value) -> Value:
            apart = builder.fsub(x(row, c), code.load(args["saved"], code.isum(saved, c), width))
            return builder.fmul(apart, apart)

        with builder.if_else(layer.is_mode(lane, STORED)) as (stored, fresh):
            with stored:
                mean, variance = (layer.address(lane, name) for name in ("running_mean", "running_var"))
                each(lambda c: code.load(mean, c, width), args["saved"], saved)
                with builder.if_else(layer.is_pooled(lane)) as (one, several):
                    with one:
                        each(lambda c: code.load_broadcast(variance, 0, width), workspace, code.isum(spread))
                    with several:
                        each(lambda c: code.load(variance, c, width), workspace, code.isum(spread))
            with fresh:
                with builder.if_else(layer.is_centred(lane)) as (centred, not_centred):
                    with centred:
                        mean_of(x, layer.column(lane, "centre"), args["saved"], saved)
                    with not_centred:
                        each(lambda c: code.constant(0, width), args["saved"], saved)
                mean_of(squared, layer.column(lane, "members"), workspace, code.isum(spread))
        with builder.if_then(layer.is_mode(lane, BATCH)):
            _update_running(layer, lane, rows, saved, spread)

        def inverse(c: Value) -> Value:
            variance = code.fadd(code.load(workspace, code.isum(spread, c), width), layer.number(lane, 0))
            return builder.fdiv(code.constant(1, width), code.sqrt(variance))

        each(inverse, args["saved"], code.isum(saved, channels))
        weight, bias = layer.address(lane, "weight"), layer.address(lane, "bias")
        with code.loop(channels, step=width) as c:
            mean, slope = (
                code.load(args["saved"], code.isum(saved, i * channels, c), width) for i in range(2)
            )
            scale, shift = code.load(weight, c, width), code.load(bias, c, width)
            with code.loop(rows) as row:
                normal = builder.fmul(builder.fsub(x(row, c), mean), slope)
                position = code.isum(at, code.imul(row, channels), c)
                code.store(code.fma(normal, scale, shift), args["y"], position)

    layer.for_lanes(standardise)
    return code.compile(), 2 * channels


def _update_running(layer: NormPass, lane: Value, rows: Value, saved: Value, spread: int) -> None:
    """running ← (1 − momentum) · running + momentum · batch."""
    code, args, builder = layer.code, layer.args, layer.code.builder
    mean, variance = (layer.address(lane, name) for name in ("running_mean", "running_var"))

    def update(running: Value, offset: Count, width: int, value: Value) -> None:
        share = layer.number(lane, 1, width)
        rest = builder.fsub(code.constant(1, width), share)
        before = builder.fmul(code.load(running, offset, width), rest)
        code.store(code.fma(value, share, before), running, offset)

    def update_variance(offset: Count, width: int) -> None:
        count = code.int_to_float(rows, width)
        unbiased = builder.fdiv(count, builder.fsub(count, layer.number(lane, 2, width)))
        of_batch = code.load(args["workspace"], code.isum(spread, offset), width)
        update(variance, offset, width, builder.fmul(of_batch, unbiased))

    with code.loop(layer.channels, step=layer.width) as c:
        update(mean, c, layer.width, code.load(args["saved"], code.isum(saved, c), layer.width))
    with builder.if_else(layer.is_pooled(lane)) as (one, several):
        with one:
            update_variance(0, 1)
        with several, code.loop(layer.channels, step=layer.width) as c:
            update_variance(c, layer.width)


@disk_cached
def backward(channels: int) -> tuple[Function, int]:
    """(grad_y, x, saved, grad_x, numbers, workspace, lanes, parts, K, B, P); and the workspace in floats.

    The gradients of γ and β are accumulated.
    """
    layer = NormPass(channels, ("grad_y", "x", "saved", "grad_x"), BACKWARD)
    code, args, width, workspace = layer.code, layer.args, layer.width, layer.args["workspace"]
    builder = code.builder

    def back(lane: Value, at: Value, rows: Value, saved: Value) -> None:
        members, centre = layer.column(lane, "members"), layer.column(lane, "centre")
        shares = [layer.share(rows, size) for size in (centre, members)]
        weight, to_weight, to_bias = (layer.address(lane, name) for name in BACKWARD[:3])
        fresh = builder.select(layer.is_mode(lane, STORED), code.isum(0), code.isum(1))

        def gradient(row: Value, c: Value) -> Value:
            return code.load(args["grad_y"], code.isum(at, code.imul(row, channels), c), width)

        def normal(row: Value, c: Value, mean: Value, slope: Value) -> Value:
            x = code.load(args["x"], code.isum(at, code.imul(row, channels), c), width)
            return builder.fmul(builder.fsub(x, mean), slope)

        def seen(c: Value) -> list[Value]:
            return [code.load(args["saved"], code.isum(saved, i * channels, c), width) for i in range(2)]

        with code.loop(channels, step=width) as c:
            statistics = seen(c)

            def both(row: Value, sums: Sequence[Value]) -> list[Value]:
                g = gradient(row, c)
                return [code.fadd(sums[0], g), code.fma(g, normal(row, c, *statistics), sums[1])]

            sums = layer.chunked_sums(rows, 2, both)
            scale = builder.fmul(code.load(weight, c, width), code.int_to_float(fresh, width))
            for into, offset, total in zip((to_bias, to_weight), (0, channels), sums, strict=True):
                code.store(code.fadd(code.load(into, c, width), total), into, c)
                code.store(builder.fmul(total, scale), workspace, code.isum(offset, c))
        with builder.if_else(layer.is_centred(lane)) as (centred, not_centred):
            with centred:
                layer.sum_groups(0, centre)
            with not_centred:
                code.fill(0, workspace, code.isum(0), channels)
        layer.sum_groups(channels, members)
        with code.loop(channels, step=width) as c:
            statistics, scale = seen(c), code.load(weight, c, width)
            shift, slope = (
                builder.fmul(code.load(workspace, code.isum(offset, c), width), share)
                for offset, share in zip((0, channels), shares, strict=True)
            )
            with code.loop(rows) as row:
                apart = builder.fsub(builder.fmul(gradient(row, c), scale), shift)
                apart = builder.fsub(apart, builder.fmul(normal(row, c, *statistics), slope))
                position = code.isum(at, code.imul(row, channels), c)
                code.store(builder.fmul(apart, statistics[1]), args["grad_x"], position)

    layer.for_lanes(back)
    return code.compile(), 2 * channels
