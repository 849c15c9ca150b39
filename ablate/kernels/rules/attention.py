"""torch's `nn.MultiheadAttention`, `nn.TransformerEncoderLayer` and `nn.TransformerEncoder` without masks, on tokens `[B, T, C]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.kernels.compiled import op_cache
from ablate.kernels.compiled_attention import AttentionOp
from ablate.kernels.compiled_op import LayerOp
from ablate.kernels.compiled_ops import LinearOp
from ablate.kernels.functional_math import attention, matmul, softmax
from ablate.kernels.functional_rules import linear_product
from ablate.kernels.fused import LayerOps
from ablate.kernels.registry import register_stacked
from ablate.kernels.rules.linear import weights_of
from ablate.kernels.stacked import is_covered, run_in_turn, stacked
from ablate.surgery.attention_dropout import CountedAttention
from ablate.surgery.torch_layers import is_hooked

ACTIVATIONS: dict[Callable[..., Tensor], nn.Module] = {
    F.relu: nn.ReLU(),
    torch.relu: nn.ReLU(),
    F.gelu: nn.GELU(),
}
"""The activations of encoder layers that are functions -> a layer that computes the same."""


def is_self_attention(layer: nn.MultiheadAttention) -> bool:
    """Whether `self_attention` runs it: projections of one width, without what torch adds to keys, without torch's own dropout."""
    counted = type(layer) is CountedAttention
    return (
        (counted or type(layer) is nn.MultiheadAttention)
        and layer._qkv_same_embed_dim
        and layer.bias_k is None
        and layer.bias_v is None
        and not layer.add_zero_attn
        and (counted or layer.dropout == 0 or not layer.training)
        and type(layer.out_proj) is nn.modules.linear.NonDynamicallyQuantizableLinear
        and not is_hooked(layer)
        and not is_hooked(layer.out_proj)
    )


def self_attention(layer: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """`x` as query, key and value: `[K, B, T, C]` -> `[K, B, T, C]`."""
    tokens = x if layer.batch_first else x.transpose(1, 2)
    cache = op_cache()
    if cache is None:
        for op in attention_ops(layer):
            tokens = op.eager(tokens)
    else:
        if layer not in cache:
            cache[layer] = LayerOps(attention_ops(layer))
        tokens = cache[layer](tokens)
    return tokens if layer.batch_first else tokens.transpose(1, 2)


def attention_ops(layer: nn.MultiheadAttention) -> list[LayerOp]:
    """Projections in one, attention, the projection of its output."""

    def attended(joint: Tensor) -> Tensor:
        heads = (layer.num_heads, layer.head_dim)
        query, key, value = (
            part.reshape(*part.shape[:-1], *heads).transpose(2, 3) for part in joint.chunk(3, -1)
        )
        out: Tensor = dropped(query, key, value) if drops else attention(query, key, value)
        return out.transpose(2, 3).flatten(3)

    def dropped(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        scores = matmul(query, key.mT) / layer.head_dim**0.5
        weights = softmax(scores, -1)
        assert isinstance(layer, CountedAttention)
        kept = stacked(layer.weight_dropout, weights.flatten(1, 2)).view_as(weights)
        out: Tensor = matmul(kept, value)
        return out

    def before() -> list[Tensor]:
        return [tensor for tensor in (layer.in_proj_weight, layer.in_proj_bias) if tensor is not None]

    def behind() -> list[Tensor]:
        return weights_of(layer.out_proj)

    drops = isinstance(layer, CountedAttention) and layer.training
    biased, width = layer.in_proj_bias is not None, layer.embed_dim
    return [
        LayerOp(lambda x: linear_product(x, *before()), LinearOp(width, 3 * width, biased), before),
        LayerOp(attended) if drops else LayerOp(attended, AttentionOp(layer.num_heads)),
        LayerOp(lambda x: linear_product(x, *behind()), LinearOp(width, width, biased), behind),
    ]


def _fits_layer(layer: nn.TransformerEncoderLayer, x: Tensor) -> bool:
    inner = (*_feed_forward(layer), layer.norm1, layer.norm2, layer.dropout1)
    return x.ndim == 4 and is_self_attention(layer.self_attn) and all(map(is_covered, inner))


def _feed_forward(layer: nn.TransformerEncoderLayer) -> tuple[nn.Module, ...]:
    activation: Any = layer.activation
    own = activation if isinstance(activation, nn.Module) else ACTIVATIONS.get(activation, nn.Module())
    return layer.linear1, own, layer.dropout, layer.linear2, layer.dropout2


@register_stacked(nn.TransformerEncoderLayer, fits=_fits_layer)
def encoder_layer(layer: nn.TransformerEncoderLayer, x: Tensor) -> Tensor:
    """Vaswani et al. (2017), or with the norms first: Xiong et al. (2020)."""

    def attended(x: Tensor) -> Tensor:
        return stacked(layer.dropout1, self_attention(layer.self_attn, x))

    def fed_forward(x: Tensor) -> Tensor:
        return run_in_turn((layer, "feed-forward"), _feed_forward(layer), x)

    if layer.norm_first:
        x = x + attended(stacked(layer.norm1, x))
        return x + fed_forward(stacked(layer.norm2, x))
    x = stacked(layer.norm1, x + attended(x))
    return stacked(layer.norm2, x + fed_forward(x))


def _is_tokens(encoder: nn.TransformerEncoder, x: Tensor) -> bool:
    return x.ndim == 4


@register_stacked(nn.TransformerEncoder, fits=_is_tokens)
def encoder(encoder: nn.TransformerEncoder, x: Tensor) -> Tensor:
    """Stacked rule of `nn.TransformerEncoder`: layer after layer."""
    for layer in encoder.layers:
        x = stacked(layer, x)
    return x if encoder.norm is None else stacked(encoder.norm, x)
