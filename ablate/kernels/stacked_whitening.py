"""Iterative normalisation (`surgery.whitening`) of K lanes at once: products of all lanes' groups, and the gradient in closed form.

Groups of channels are `[N, m, d]`: N = K · C / d groups, m examples and positions, d channels. Lanes may differ in all settings but
d; a lane that has done its iterations keeps its matrix while others go on. A lane's bits do not depend on the other lanes: of
a single group, for which torch has other routines, there are two.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ablate.kernels.broadcasting import by_channel
from ablate.kernels.memory_format import match_layout
from ablate.surgery.whitening import IterNorm


def whitened(layer: IterNorm, x: Tensor) -> Tensor:
    """`x` `[K, B, C, …]` through lanes whose stacked tensors `layer` holds; in training, updates running statistics."""
    if not layer.training:
        rows = _grouped(x - by_channel(layer.running_mean, x), layer.size)
        return _scaled(rows, _paired(layer.running_whitening.flatten(0, 1)), layer.weight, layer.bias, x)[0]
    given = layer.weight, layer.bias, layer.eps, layer.iterations, layer.size
    y, mean, whitening = _Whiten.apply(x, *given)  # type: ignore[no-untyped-call]
    share = layer.momentum.to(mean.dtype)[:, None]
    for running, value in ((layer.running_mean, mean), (layer.running_whitening.flatten(1), whitening)):
        running.mul_(1 - share).add_(share * value.view(running.shape))
    result: Tensor = y
    return result


def _paired(groups: Tensor) -> Tensor:
    """A single group twice."""
    return groups.expand(2, *groups.shape[1:]) if len(groups) == 1 else groups


def _grouped(x: Tensor, size: int) -> Tensor:
    """`[K, B, C, …]` -> groups `[N, m, d]`, contiguous, at least two."""
    rows = x.movedim(2, -1).reshape(len(x), -1, x.shape[2] // size, size)
    return _paired(rows.transpose(1, 2).flatten(0, 1)).contiguous()


def _ungrouped(groups: Tensor, like: Tensor) -> Tensor:
    """Undo `_grouped`, in the memory format of `like` `[K, B, C, …]`."""
    lanes, examples, channels, *sides = like.shape
    in_lane = channels // groups.shape[2]
    rows = groups[: lanes * in_lane].view(lanes, in_lane, *groups.shape[1:]).transpose(1, 2)
    return match_layout(rows.reshape(lanes, examples, *sides, channels).movedim(-1, 2), like)


def _of_groups(values: Tensor, count: int) -> Tensor:
    """`[K]` -> `[N, 1, 1]`, N = `count`: the value of each group's lane."""
    return values.repeat_interleave(count // len(values))[:, None, None]


def _by_channel(values: Tensor, size: int) -> Tensor:
    """`[K, C]` -> `[N, 1, d]`, d = `size`."""
    return _paired(values.reshape(-1, 1, size))


def _sums(matrices: Tensor) -> Tensor:
    """The sum of each matrix: `[N, d, d]` -> `[N, 1, 1]`."""
    return matrices.flatten(1).sum(1)[:, None, None]


def _scaled(
    rows: Tensor, whitening: Tensor, weight: Tensor, bias: Tensor, like: Tensor
) -> tuple[Tensor, Tensor]:
    """(y = γ W X + β like `like`, γ W): `rows` `[N, m, d]`, `whitening` `[N, d, d]`, `weight` and `bias` `[K, C]`."""
    size = rows.shape[2]
    scaled = _by_channel(weight, size).mT * whitening
    return _ungrouped(torch.baddbmm(_by_channel(bias, size), rows, scaled.mT), like), scaled


class _Step(NamedTuple):
    """p' = step p and root' = root step, where step = (3 I − p root) / 2, in the groups that are `going` `[N, 1, 1]` (None: all)."""

    p: Tensor
    root: Tensor
    step: Tensor
    going: Tensor | None


def _iterated(scaled: Tensor, identity: Tensor, iterations: Tensor) -> tuple[Tensor, list[_Step]]:
    """P_T of Σ_N `[N, d, d]`, and the steps to it after the first, which begins with p = I; `iterations` `[K]`: each lane's T."""
    counts = [int(count) for count in iterations.tolist()]
    least, most = min(counts), max(counts)
    groups = _of_groups(iterations, len(scaled)) if least < most else None
    threefold = 1.5 * identity
    root, steps = scaled, list[_Step]()
    p = step = torch.sub(threefold, scaled, alpha=0.5)
    for done in range(1, most):
        root = torch.bmm(root, step)
        step = torch.baddbmm(threefold, p, root, alpha=-0.5)
        going = None if groups is None or done < least else groups > done
        steps.append(_Step(p, root, step, going))
        p = _where(going, torch.bmm(step, p), p)
    return p, steps


def _iterated_backward(to_p: Tensor, scaled: Tensor, identity: Tensor, steps: list[_Step]) -> Tensor:
    """The gradient of Σ_N from that of P_T."""
    to_root = torch.zeros_like(to_p)
    for p, root, step, going in reversed(steps):
        to_step = torch.bmm(to_p, p.mT).baddbmm_(root.mT, to_root)
        before = torch.bmm(step.mT, to_p).baddbmm_(to_step, root.mT, alpha=-0.5)
        to_root = _where(going, torch.bmm(to_root, step.mT).baddbmm_(p.mT, to_step, alpha=-0.5), to_root)
        to_p = _where(going, before, to_p)
    first = steps[0].p if steps else 1.5 * identity - 0.5 * scaled
    to_step = torch.baddbmm(to_p, scaled.mT, to_root)
    return torch.bmm(to_root, first.mT).sub_(to_step, alpha=0.5)


def _where(going: Tensor | None, new: Tensor, old: Tensor) -> Tensor:
    return new if going is None else torch.where(going, new, old)


class _Values(NamedTuple):
    """Values of the forward pass; `rows` are the groups without their means, `scaled_sigma` is Σ_N, `scaled` γ W."""

    mean: Tensor
    rows: Tensor
    identity: Tensor
    trace: Tensor
    root_trace: Tensor
    scaled_sigma: Tensor
    steps: list[_Step]
    whitening: Tensor
    scaled: Tensor


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor, eps: Tensor, iterations: Tensor, size: int
) -> tuple[Tensor, _Values]:
    groups = _grouped(x, size)
    count, m = len(groups), groups.shape[1]
    mean = groups.sum(1, keepdim=True) / m
    rows = groups - mean
    identity = torch.eye(size, dtype=x.dtype, device=x.device)
    sigma = torch.bmm(rows.mT, rows) / m + _of_groups(eps.to(x.dtype), count) * identity
    trace = _sums(sigma * identity)
    scaled_sigma = sigma / trace
    p, steps = _iterated(scaled_sigma, identity, iterations)
    root_trace = trace.sqrt()
    whitening = p / root_trace
    y, scaled = _scaled(rows, whitening, weight, bias, x)
    return y, _Values(mean, rows, identity, trace, root_trace, scaled_sigma, steps, whitening, scaled)


class _Whiten(torch.autograd.Function):
    """(y, means, whitening matrices), the latter two of all groups `[K · C / d, …]` and without gradients."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: Tensor, iterations: Tensor, size: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, ctx.values = _forward(x, weight, bias, eps, iterations, size)
        ctx.save_for_backward(x, weight, bias, eps, iterations)
        ctx.size = size
        groups = weight.numel() // size
        mean, whitening = ctx.values.mean[:groups], ctx.values.whitening[:groups]
        ctx.mark_non_differentiable(mean, whitening)
        return y, mean, whitening

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, eps, iterations = ctx.saved_tensors
        if torch.is_grad_enabled():  # double backward
            given = (x, weight, bias)
            again, _values = _forward(*given, eps, iterations, ctx.size)
            return (*torch.autograd.grad(again, given, gradient, create_graph=True), None, None, None)
        of: _Values = ctx.values
        m = of.rows.shape[1]
        to_y = _grouped(gradient, ctx.size)
        to_bias = to_y.sum(1, keepdim=True)
        to_scaled = torch.bmm(to_y.mT, of.rows)
        to_weight = (to_scaled * of.whitening).sum(2)
        to_whitening = to_scaled * _by_channel(weight, ctx.size).mT
        to_sigma = _iterated_backward(to_whitening / of.root_trace, of.scaled_sigma, of.identity, of.steps)
        to_trace = _sums(to_whitening * of.whitening) / 2 + _sums(to_sigma * of.scaled_sigma)
        to_sigma = (to_sigma - to_trace * of.identity) / of.trace
        # Less its mean: that of the second product is 0, since the rows have none.
        to_rows = torch.baddbmm(torch.bmm(to_bias, of.scaled) / -m, to_y, of.scaled)
        to_rows.baddbmm_(of.rows, (to_sigma + to_sigma.mT) / m)
        own = (each.flatten()[: weight.numel()].view(weight.shape) for each in (to_weight, to_bias))
        return _ungrouped(to_rows, x), *own, None, None, None
