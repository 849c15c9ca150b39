"""`nn.Embedding` with a padding index: under vmap, torch drops the padding row's gradient in the first lane only."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.kernels.registry import register_vmapped


@register_vmapped(nn.Embedding)
def embedding(layer: nn.Embedding, x: Tensor) -> Tensor:
    """Vmapped rule of embeddings with a padding index."""
    if layer.padding_idx is None or layer.max_norm is not None or layer.scale_grad_by_freq or layer.sparse:
        return nn.Embedding.forward(layer, x)
    weight, row = layer.weight, layer.padding_idx
    return F.embedding(x, torch.cat([weight[:row], weight[row : row + 1].detach(), weight[row + 1 :]]))
