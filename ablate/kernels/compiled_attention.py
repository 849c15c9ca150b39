"""Attention over few tokens as a compiled op (`compiled.attention`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ablate.kernels.call_plan import ArgRef
from ablate.kernels.compiled import op_cache
from ablate.kernels.compiled_op import EmitBackward, EmitContext, Shape
from ablate.kernels.fused import FusedOp, is_compilable

MAX_TOKENS = 64
"""The weights of attention are kept for the backward pass; of more tokens they leave the cache, and torch's own kernel does without."""
MAX_HEAD = 64


@dataclass(frozen=True)
class AttentionOp:
    """Queries, keys and values `[B, T, 3 · H · D]` -> `[B, T, H · D]`."""

    heads: int
    causal: bool = False

    num_params = num_buffers = 0

    def output_shape(self, shape: Shape, *, channels_last: bool) -> Shape | None:
        if len(shape) != 3 or shape[2] % (3 * self.heads) or shape[1] > MAX_TOKENS:
            return None
        model = shape[2] // 3
        return (*shape[:2], model) if model // self.heads <= MAX_HEAD else None

    def emit(self, context: EmitContext, x: ArgRef) -> tuple[ArgRef, EmitBackward]:
        from ablate.kernels.compiled import attention

        examples, tokens, width = context.shape
        sizes = tokens, self.heads, width // (3 * self.heads)
        y = context.output((examples, tokens, width // 3), x)
        saved = context.calls.saved(examples * self.heads * tokens * tokens)
        function, numbers = attention.forward(*sizes, causal=self.causal)
        context.call(function, x, y, saved, context.calls.scratch(numbers), examples)

        def backward(context: EmitContext, grad: ArgRef, wanted: bool) -> ArgRef:
            function, numbers = attention.backward(*sizes)
            grad_x = context.output(context.shape, grad)
            context.call(function, grad, x, saved, grad_x, context.calls.scratch(numbers), examples)
            return grad_x

        return y, backward

    def eager(self, x: Tensor, params: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor:
        query, key, value = (
            part.reshape(*part.shape[:-1], self.heads, -1).transpose(2, 3) for part in x.chunk(3, -1)
        )
        scores = query @ key.mT / query.shape[-1] ** 0.5
        if self.causal:
            scores = scores.masked_fill(scores.new_ones(scores.shape[-2:]).triu(1) > 0, float("-inf"))
        y: Tensor = scores.softmax(-1) @ value
        return y.transpose(2, 3).flatten(3)


def compiled_attention(query: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> Tensor | None:
    """`[K, B, H, T, D]` each -> the same, by compiled code; None where that does not run, or torch's kernel is as fast."""
    cache = op_cache()
    if cache is None or not (query.shape == key.shape == value.shape) or not is_compilable(query):
        return None
    heads = query.shape[2]
    op = AttentionOp(heads, causal)
    lanes, examples, _, tokens, width = query.shape
    if op.output_shape((examples, tokens, 3 * heads * width), channels_last=False) is None:
        return None

    joint = torch.cat([each.transpose(2, 3).flatten(3) for each in (query, key, value)], -1)
    y: Tensor = cache.setdefault(op, FusedOp([op]))(joint, [])
    return y.view(lanes, examples, tokens, heads, width).transpose(2, 3)
