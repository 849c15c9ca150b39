"""The keys from which layers draw: each lane's key of the step, hashed with the layer's stream."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import torch
from torch import Tensor, nn

from ablate.kernels.cache import cached
from ablate.seams.draws import stream_keys
from ablate.surgery.layers import RandomLayer


def random_layers(module: nn.Module) -> dict[str, int]:
    """The key buffers of the random layers: name -> the layer's stream."""
    return cached(module, "random_layers", _random_layers)


def _random_layers(module: nn.Module) -> dict[str, int]:
    return {
        f"{path}.key" if path else "key": layer.stream
        for path, layer in module.named_modules()
        if isinstance(layer, RandomLayer)
    }


def drawn_keys(streams: Iterable[int], keys: Tensor) -> dict[int, Tensor]:
    """Stream -> the lanes' keys of the step (int32 `[K]`) hashed with it, for layers that draw from these."""
    numbers = tuple(dict.fromkeys(streams))
    if not numbers:
        return {}
    return dict(
        zip(numbers, stream_keys(keys, _streams(numbers, keys.device)[:, None]).unbind(0), strict=True)
    )


@lru_cache(maxsize=64)
def _streams(streams: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(streams, dtype=torch.int32, device=device)
