"""Counter-based randomness: every draw is a pure function of (seed, stream, step, element).

No generator state is kept, so resuming, regrouping, the position of a lane and the number of workers cannot
change a result. The mixing function is the 32-bit integer hash "lowbias32" (C. Wellons, hash-prospector,
2018; its constants are facts), applied once to the element's number and once more after the key is mixed
in. It is no cryptographic generator; `tests/lanes/test_draws.py` holds what is asked of it.

All arithmetic is int32 with wrap-around, which every device gives alike: the same draws on CPU and GPU.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from math import pi

import torch
from torch import Tensor

_FIRST = 0x7FEB352D
_SECOND = 0x846CA68B - (1 << 32)  # as a signed 32-bit number
_GOLDEN = 0x9E3779B9 - (1 << 32)


def mix(x: Tensor) -> Tensor:
    """lowbias32 of each element. int32 -> int32, any shape; a bijection."""
    x = x ^ ((x >> 16) & 0xFFFF)
    x = x * _FIRST
    x = x ^ ((x >> 15) & 0x1FFFF)
    x = x * _SECOND
    return x ^ ((x >> 16) & 0xFFFF)


@lru_cache(maxsize=256)
def elements(count: int, device: torch.device) -> Tensor:
    """The mixed numbers 0 … count − 1, int32 `[count]` (kept: every draw of that size starts from them)."""
    return mix(torch.arange(count, dtype=torch.int32, device=device))


@lru_cache(maxsize=4096)
def stream_number(name: str) -> int:
    """A signed 32-bit number for a stream's name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "little", signed=True)


def seed_keys(seeds: list[int], device: torch.device) -> Tensor:
    """int32 `[K]`: one well-mixed key a seed."""
    numbers = [stream_number(f"seed {seed}") for seed in seeds]
    return torch.tensor(numbers, dtype=torch.int32, device=device)


def step_keys(keys: Tensor, steps: Tensor) -> Tensor:
    """Keys of the lanes at their steps. `keys` int32 `[K]`, `steps` int64 `[K]` -> int32 `[K]`."""
    return mix(keys ^ mix(steps.to(torch.int32) * _GOLDEN + 1))


def bits(key: Tensor, stream: int, shape: tuple[int, ...]) -> Tensor:
    """32 random bits an element: int32 of `shape` for a scalar `key`, as in a lane's own forward pass."""
    count = 1
    for size in shape:
        count *= size
    return mix(elements(count, key.device) ^ mix(key ^ stream)).reshape(shape)


def to_uniform(random: Tensor) -> Tensor:
    """Uniform on [0, 1) with 24 bits, float32."""
    return ((random >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24


def keep_mask(key: Tensor, stream: int, shape: tuple[int, ...], p: Tensor) -> Tensor:
    """True with probability 1 − p, independently for each element; p = 0 keeps all. bool of `shape`."""
    threshold = (p.to(torch.float64) * 2.0**32 - 2.0**31).clamp(max=2.0**31 - 1).to(torch.int32)
    return bits(key, stream, shape) >= threshold


class Draws:
    """Draws for K lanes, each at its own seed and step. What a data trick is handed.

    Every method takes the name of a stream (two draws with one name are the same numbers) and the shape of
    one lane's draw, and returns `[K, *shape]`.
    """

    def __init__(self, keys: Tensor, prefix: str = "") -> None:
        self.keys = keys
        self.prefix = prefix

    def within(self, prefix: str) -> Draws:
        """The same draws with stream names that cannot clash with another trick's."""
        return Draws(self.keys, f"{prefix}/")

    def bits(self, stream: str, *shape: int) -> Tensor:
        count = 1
        for size in shape:
            count *= size
        lane = mix(self.keys ^ stream_number(self.prefix + stream))
        return mix(elements(count, self.keys.device) ^ lane[:, None]).reshape(-1, *shape)

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """float32 `[K, *shape]` in [0, 1)."""
        return to_uniform(self.bits(stream, *shape))

    def bernoulli(self, stream: str, p: Tensor, *shape: int) -> Tensor:
        """bool `[K, *shape]`, True with probability `p` `[K]`."""
        return self.uniform(stream, *shape) < p.reshape(-1, *[1] * len(shape))

    def normal(self, stream: str, *shape: int) -> Tensor:
        """float32 standard normal `[K, *shape]` (Box and Muller 1958)."""
        radius = (-2 * torch.log1p(-self.uniform(f"{stream}/radius", *shape))).sqrt()
        return radius * torch.cos(2 * pi * self.uniform(f"{stream}/angle", *shape))

    def permutation(self, stream: str, count: int) -> Tensor:
        """int64 `[K, count]`: a permutation a lane."""
        return self.bits(stream, count).argsort(dim=1, stable=True)
