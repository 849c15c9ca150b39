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
from math import pi, prod

import torch
from torch import Tensor

_FIRST = 0x7FEB352D
_SECOND = 0x846CA68B - (1 << 32)  # as a signed 32-bit number
_GOLDEN = 0x9E3779B9 - (1 << 32)


def mix(x: Tensor) -> Tensor:
    """lowbias32 of each element. int32 -> a new int32 tensor, any shape; a bijection."""
    return _mix_(x.clone())


def _mix_(x: Tensor) -> Tensor:
    """The same in place: of small tensors, most of the time would go into new memory."""
    x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF)).mul_(_FIRST)
    x.bitwise_xor_((x >> 15).bitwise_and_(0x1FFFF)).mul_(_SECOND)
    return x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))


def hashed(number: int) -> int:
    """lowbias32 of one signed 32-bit number."""
    x = number & 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * _FIRST) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * _SECOND) & 0xFFFFFFFF
    x ^= x >> 16
    return x - (1 << 32) if x >= 1 << 31 else x


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
    return _mix_(elements(count, key.device) ^ mix(key ^ stream)).reshape(shape)


def to_uniform(random: Tensor) -> Tensor:
    """Uniform on [0, 1) with 24 bits, float32."""
    return ((random >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24


CHUNK = 1 << 16
"""So many numbers are drawn at a time: more would not stay in a core's cache, fewer are mostly calls."""


def keep_mask(key: Tensor, stream: int, shape: tuple[int, ...], p: Tensor) -> Tensor:
    """1 with probability 1 − p, else 0, independently for each element; p = 0 keeps all. float32 of `shape`.

    `key` int32 and `p` float32, of no dimension. Each draw serves two elements with 16 bits each, so p is
    rounded to a multiple of 2^-16 (and to at most 1 − 2^-16). A float at once: comparisons that give
    booleans, and products with those, take several times as long on a CPU.
    """
    if torch._C._functorch.is_batchedtensor(key):
        mask: Tensor = _Keep.apply(key, p, stream, shape)  # type: ignore[no-untyped-call]
        return mask
    if key.device.type != "cpu":
        return _keep_masks(key[None], p[None], stream, shape)[0]
    # With plain numbers: of a small layer's time, tensors of no dimension take most.
    count = prod(shape)
    least = min(round(float(p) * 2**16) - 2**15, 2**15 - 1)
    drawn = _mix_(elements((count + 1) // 2, key.device) ^ hashed(int(key) ^ stream))
    return torch.ge(drawn.view(torch.int16)[:count], least, out=torch.empty(count)).view(shape)


def keep_masks(keys: Tensor, p: Tensor, stream: int, shape: tuple[int, ...]) -> Tensor:
    """`keep_mask` for K lanes: float32 `[K, *shape]`, from int32 `keys` and float32 `p`, both `[K]`."""
    if keys.device.type == "cpu":  # elsewhere, to ask would mean to wait for the device
        drawn = p.nonzero().flatten()
        if 2 * len(drawn) < len(keys):  # lanes that keep everything need no draws
            masks = torch.ones(len(keys), *shape)
            return masks.index_copy_(0, drawn, _keep_masks(keys[drawn], p[drawn], stream, shape))
    return _keep_masks(keys, p, stream, shape)


def _keep_masks(keys: Tensor, p: Tensor, stream: int, shape: tuple[int, ...]) -> Tensor:
    """A mask drawn for every lane."""
    count = prod(shape)
    half = (count + 1) // 2
    least = (p * 2**16).round_().sub_(2**15).clamp_(max=2**15 - 1).to(torch.int16)[:, None]
    numbers, lane_keys = elements(half, keys.device), mix(keys ^ stream)[:, None]
    masks = torch.empty(len(keys), count, device=keys.device)
    step = max(1, CHUNK // max(1, half)) if keys.device.type == "cpu" else len(keys)
    for part, some, own in zip(*(torch.split(rows, step) for rows in (masks, lane_keys, least)), strict=True):
        torch.ge(_mix_(numbers ^ some).view(torch.int16)[:, :count], own, out=part)
    return masks.view(-1, *shape)


class _Keep(torch.autograd.Function):
    """Under vmap: the masks of all lanes at once."""

    generate_vmap_rule = False

    @staticmethod
    def forward(key: Tensor, p: Tensor, stream: int, shape: tuple[int, ...]) -> Tensor:
        raise RuntimeError("only called under vmap")

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[object, ...], output: object) -> None:
        raise RuntimeError("only called under vmap")

    @staticmethod
    def vmap(info, in_dims, key, p, stream, shape):  # type: ignore[no-untyped-def]
        keys = key if in_dims[0] is not None else key.expand(info.batch_size)
        p = p if in_dims[1] is not None else p.expand(info.batch_size)
        return keep_masks(keys, p, stream, shape), 0


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
        return _mix_(elements(count, self.keys.device) ^ lane[:, None]).reshape(-1, *shape)

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
