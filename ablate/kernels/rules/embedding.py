"""`nn.Embedding`: the rows of all lanes in one table. Under vmap, torch drops a padding row's gradient in the first lane only."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.kernels.registry import register_stacked, register_vmapped


def _is_plain(layer: nn.Embedding, x: Tensor) -> bool:
    return layer.max_norm is None and not layer.scale_grad_by_freq and not layer.sparse


@register_stacked(nn.Embedding, fits=_is_plain)
def stacked_embedding(layer: nn.Embedding, x: Tensor) -> Tensor:
    """`[K, …]` token ids, weights `[K, V, D]` -> `[K, …, D]`."""
    lanes, words, width = layer.weight.shape
    table = without_gradient(layer.weight, layer.padding_idx, 1)
    first = torch.arange(0, lanes * words, words, device=x.device).view(-1, *[1] * (x.ndim - 1))
    return F.embedding(x + first, table.reshape(lanes * words, width))


def without_gradient(weight: Tensor, row: int | None, dim: int) -> Tensor:
    """`weight` whose padding row, along `dim`, gets no gradient."""
    if row is None:
        return weight
    before, own, after = weight.tensor_split([row, row + 1], dim)
    return torch.cat([before, own.detach(), after], dim)


@register_vmapped(nn.Embedding)
def embedding(layer: nn.Embedding, x: Tensor) -> Tensor:
    """Vmapped rule of embeddings with a padding index."""
    if layer.padding_idx is None or layer.max_norm is not None or layer.scale_grad_by_freq or layer.sparse:
        return nn.Embedding.forward(layer, x)
    return F.embedding(x, without_gradient(layer.weight, layer.padding_idx, 0))
