"""torch's `nn.MultiheadAttention` with the dropout of its weights drawn by counter, so that several lanes can share a step.

    y = (softmax(q kᵀ / √D + mask) · m / (1 − p)) v,   m is 0 with probability p and 1 otherwise

What torch's layer computes in training, its masks and shapes included, is written out here, since its dropout is inside one function of
torch's. Evaluation is torch's own, except under vmap, for which torch's attention with a mask has no rule.
"""

from __future__ import annotations

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
        batched = query.ndim == 3
        moved = 1 if batched and not self.batch_first else 0
        parts = [part if batched else part[None] for part in self._projected(query, key, value)]
        q, k, v = (self._by_head(part.transpose(0, moved)) for part in parts)
        scores = q @ k.mT / self.head_dim**0.5
        if attn_mask is not None:  # [T, S], or [B · H, T, S]
            scores = _masked(
                scores, attn_mask.view(-1, *scores.shape[1:]) if attn_mask.ndim == 3 else attn_mask
            )
        if key_padding_mask is not None:  # [B, S]
            scores = _masked(scores, key_padding_mask.view(-1, 1, 1, scores.shape[-1]))
        if not need_weights and (attn_mask is not None or key_padding_mask is not None):
            # A token that may attend to none gets zeros, as from torch's kernel.
            nothing = (scores == -torch.inf).all(-1, keepdim=True)
            weights = scores.masked_fill(nothing, 0.0).softmax(-1).masked_fill(nothing, 0.0)
        else:
            weights = scores.softmax(-1)
        weights = self.weight_dropout(weights.flatten(0, 1)).view_as(weights)
        y = (weights @ v).transpose(1, 2).flatten(2)
        y = F.linear(y, self.out_proj.weight, self.out_proj.bias).transpose(0, moved)
        if not need_weights:
            return (y if batched else y[0]), None
        shown = weights.mean(1) if average_attn_weights else weights
        return (y, shown) if batched else (y[0], shown[0])

    def _by_head(self, part: Tensor) -> Tensor:
        """`[B, T, C]` -> `[B, H, T, D]`."""
        return part.reshape(*part.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values `[…, C]`."""
        if self._qkv_same_embed_dim and query is key and key is value:
            return F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        joint = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        weights = self.in_proj_weight.chunk(3) if self._qkv_same_embed_dim else joint
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        return tuple(map(F.linear, (query, key, value), weights, biases))


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    """A mask of booleans says where not to attend; one of numbers is added."""
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(mask, -torch.inf)
    return scores + mask


def counted(module: nn.Module, but: Collection[str] = ()) -> None:
    """Let torch's attention layers in `module` that drop weights draw by counter. Those at the paths `but`, of other classes, and those that
    add keys stay."""
    for path, layer in module.named_modules():
        if type(layer) is not nn.MultiheadAttention or layer.dropout == 0 or is_hooked(layer):
            continue
        if layer.bias_k is None and not layer.add_zero_attn and path not in but:
            count_draws(layer, layer.dropout, f"model/{path}")


def count_draws(layer: nn.MultiheadAttention, p: float, stream: str) -> None:
    """Make `layer` a `CountedAttention`, in place."""
    vars(layer).pop("dropout", None)
    layer.__class__ = CountedAttention
    layer.weight_dropout = Dropout(p, stream)
