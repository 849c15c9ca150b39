"""Norms of a lane's tensors, one by one, on the flat matrix."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ablate.seams.tensors import ALIGN, LaneTensors, Layout


def tensor_norms(tensors: LaneTensors) -> Tensor:
    """L2 norm of every tensor of every lane, `[K, T]` in the layout's order. Equal bits alone and in any group."""
    blocks = tensors.flat.square().reshape(tensors.lanes, -1, ALIGN).sum(dim=2)
    parts = torch.split_with_sizes(blocks, _blocks(tensors.layout), dim=1)
    return torch.stack([part.sum(dim=1) for part in parts], dim=1).sqrt()


def scaled_by_tensor(tensors: LaneTensors, factors: Tensor) -> LaneTensors:
    """Every tensor times its own number; `factors` `[K, T]`."""
    spread = factors.index_select(1, _owners(tensors.layout, factors.device))[:, :, None]
    flat = tensors.flat.reshape(tensors.lanes, -1, ALIGN) * spread
    return tensors.like(flat.reshape(tensors.flat.shape))


@lru_cache(maxsize=64)
def _owners(layout: Layout, device: torch.device) -> Tensor:
    """The number of the tensor that each block belongs to, int64 `[P / ALIGN]`."""
    counts = torch.tensor(_blocks(layout), device=device)
    return torch.arange(len(counts), device=device).repeat_interleave(counts)


@lru_cache(maxsize=64)
def _blocks(layout: Layout) -> list[int]:
    """How many blocks of `ALIGN` numbers each tensor takes."""
    return [-(-spec.size // ALIGN) for spec in layout.specs.values()]
