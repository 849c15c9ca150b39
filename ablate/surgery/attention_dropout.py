"""torch's `nn.MultiheadAttention` with the dropout of its weights drawn by counter, so that several lanes can share a step.

    y = (softmax(q kᵀ / √D + mask) · m / (1 − p)) v,   m is 0 with probability p and 1 otherwise

What torch's layer computes in training, its masks and shapes included, is written out here, since its dropout is inside one function of
torch's. Evaluation is torch's own, except under vmap, for which torch's attention with a mask has no rule.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.surgery.layers import Dropout
from ablate.surgery.torch_layers import is_hooked


class CountedAttention(nn.MultiheadAttention):
    """`nn.MultiheadAttention` whose weights are dropped by the layer `weight_dropout`. `counted` makes one of torch's."""

    weight_dropout: Dropout

    @property
    def dropout(self) -> float:
        """The probability to drop a weight. A model may set it while it trains."""
        return self.weight_dropout.p

    @dropout.setter
    def dropout(self, p: float) -> None:
        self.weight_dropout.p = p

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if not (self.training or torch._C._functorch.is_batchedtensor(query)):
            return super().forward(
                query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
            )
        if is_causal and attn_mask is None:
            raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
        batched, same, alike = query.ndim == 3, query is key, key is value
        if not batched:
            key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
        query, key, value = (self._tokens_first(part, batched) for part in (query, key, value))
        key = query if same else key
        value = key if alike else value
        q, k, v = self._projected(query, key, value)
        (tokens, examples), keys = query.shape[:2], key.shape[0]
        split = (examples * self.num_heads, self.head_dim)
        q, k, v = (part.reshape(-1, *split).transpose(0, 1) for part in (q, k, v))
        mask = self._mask(attn_mask, key_padding_mask, q.dtype, examples, keys)
        if need_weights:
            q, k = q * math.sqrt(1.0 / self.head_dim), k.transpose(-2, -1)
            scores = torch.bmm(q, k) if mask is None else torch.baddbmm(mask, q, k)
            weights = self.weight_dropout(scores.softmax(-1))
            y = torch.bmm(weights, v).transpose(0, 1).reshape(-1, self.embed_dim)
        else:
            heads = (examples, self.num_heads)
            q, k, v = (part.reshape(*heads, *part.shape[1:]) for part in (q, k, v))
            y = self._attended(
                q, k, v, None if mask is None else mask.view(*_of(mask, heads), *mask.shape[1:])
            )
            y = y.permute(2, 0, 1, 3).reshape(-1, self.embed_dim)
        y = F.linear(y, self.out_proj.weight, self.out_proj.bias).view(tokens, examples, -1)
        y = (y.transpose(0, 1) if self.batch_first else y) if batched else y[:, 0]
        if not need_weights:
            return y, None
        weights = weights.view(examples, self.num_heads, tokens, keys)
        weights = weights.mean(1) if average_attn_weights else weights
        return y, weights if batched else weights[0]

    def _tokens_first(self, x: Tensor, batched: bool) -> Tensor:
        """`[T, B, C]`, as torch's layer computes."""
        return (x.transpose(1, 0) if self.batch_first else x) if batched else x.unsqueeze(1)

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """Queries, keys and values `[T, B, C]`."""
        if self._qkv_same_embed_dim:
            return F._in_projection_packed(query, key, value, self.in_proj_weight, self.in_proj_bias)  # type: ignore[no-any-return, attr-defined]
        weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        return F._in_projection(query, key, value, *weights, *biases)  # type: ignore[no-any-return, attr-defined]

    def _mask(
        self, mask: Tensor | None, padding: Tensor | None, dtype: torch.dtype, examples: int, keys: int
    ) -> Tensor | None:
        """What is added to the scores: `[B · H or 1, T or 1, S]`."""
        mask = None if mask is None else _added(mask, dtype)
        mask = mask[None] if mask is not None and mask.ndim == 2 else mask
        if padding is None:
            return mask
        padding = _added(padding, dtype).view(examples, 1, 1, keys)
        padding = padding.expand(-1, self.num_heads, -1, -1).reshape(-1, 1, keys)
        return padding if mask is None else mask + padding

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """`F.scaled_dot_product_attention` on `[B, H, T, D]`: a token that may attend to none gets zeros."""
        scores = q @ k.mT / self.head_dim**0.5
        if mask is None:
            weights = scores.softmax(-1)
        else:
            scores = scores + mask
            nothing = (scores == -torch.inf).all(-1, keepdim=True)
            weights = scores.masked_fill(nothing, 0.0).softmax(-1).masked_fill(nothing, 0.0)
        kept: Tensor = self.weight_dropout(weights.flatten(0, 1)).view_as(weights)
        return kept @ v


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask of booleans, which says where not to attend, as numbers to add."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else mask  # fmt: skip


def _of(mask: Tensor, heads: tuple[int, int]) -> tuple[int, int]:
    """The leading dimensions of a mask beside those of examples and heads."""
    return (1, 1) if len(mask) == 1 else heads


def counted(module: nn.Module, but: Collection[str] = ()) -> None:
    """Let torch's attention layers in `module` that drop weights draw by counter. Those at the paths `but`, of other classes, and those that
    add keys stay."""
    for path, layer in module.named_modules():
        if type(layer) is not nn.MultiheadAttention or layer.dropout == 0 or is_hooked(layer):
            continue
        if layer.bias_k is None and not layer.add_zero_attn and path not in but:
            count_draws(layer, layer.dropout, f"model/{path}")


def attention_dropouts(module: nn.Module) -> list[nn.MultiheadAttention]:
    """torch's attention layers in `module` that drop attention weights."""
    return [
        layer for layer in module.modules() if isinstance(layer, nn.MultiheadAttention) and layer.dropout > 0
    ]


def count_draws(layer: nn.MultiheadAttention, p: float, stream: str) -> None:
    """Make `layer` a `CountedAttention`, in place."""
    vars(layer).pop("dropout", None)
    layer.__class__ = CountedAttention
    layer.weight_dropout = Dropout(p, stream)
