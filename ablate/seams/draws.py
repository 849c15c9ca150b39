"""Counter-based randomness: every draw is a pure function of (seed, stream, step, element).

There is no generator state, so resuming, regrouping, the position of a lane and the number of workers cannot
change a result. The mixing function is the 32-bit integer hash "lowbias32" (C. Wellons, hash-prospector,
2018), applied once to the element's number and once more after the key is mixed in. Dropout masks, which need
the most random numbers, come from tables (`keep_mask`). The generator is not cryptographic;
`tests/lanes/test_draws.py` tests its statistical properties.

All arithmetic is int32 with wrap-around, which is the same on every device: CPU and GPU draw the same numbers.
"""

from __future__ import annotations

import hashlib
import threading
from functools import lru_cache
from math import pi, prod

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

_MULTIPLIER_1 = 0x7FEB352D
_MULTIPLIER_2 = 0x846CA68B - (1 << 32)  # as a signed 32-bit number
_GOLDEN_RATIO = 0x9E3779B9 - (1 << 32)


def mix(x: Tensor) -> Tensor:
    """lowbias32 of each element. int32 -> a new int32 tensor, any shape; a bijection."""
    return _mix_(x.clone())


def _mix_(x: Tensor) -> Tensor:
    """`mix` in place: for small tensors allocation would take most of the time."""
    x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF)).mul_(_MULTIPLIER_1)
    x.bitwise_xor_((x >> 15).bitwise_and_(0x1FFFF)).mul_(_MULTIPLIER_2)
    return x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))


@lru_cache(maxsize=256)
def elements(count: int, device: torch.device) -> Tensor:
    """The mixed numbers 0 … count − 1, int32 `[count]`. Cached: every draw of that size starts from them."""
    with temporarily_clear_interpreter_stack():  # what is cached must not be of a transform
        return mix(torch.arange(count, dtype=torch.int32, device=device))


@lru_cache(maxsize=4096)
def stream_number(name: str) -> int:
    """A signed 32-bit number for a stream's name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "little", signed=True)


def seed_keys(seeds: list[int], device: torch.device) -> Tensor:
    """int32 `[K]`: one well-mixed key per seed."""
    numbers = [stream_number(f"seed {seed}") for seed in seeds]
    return torch.tensor(numbers, dtype=torch.int32, device=device)


def step_keys(keys: Tensor, steps: Tensor) -> Tensor:
    """Keys of the lanes at their steps. `keys` int32 `[K]`, `steps` int64 `[K]` -> int32 `[K]`."""
    return mix(keys ^ mix(steps.to(torch.int32) * _GOLDEN_RATIO + 1))


def stream_keys(keys: Tensor, stream: int | Tensor) -> Tensor:
    """Keys for the draws of a stream (or of several that broadcast against `keys`), from the lanes' keys of a step. int32."""
    return mix(keys ^ stream)


Calls = dict[int, int]
"""Stream -> how often it has been drawn from in a forward pass."""


class _Counting(threading.local):
    """The counts of the forward pass that this thread is in: a pool may train in a thread while the driver runs a model."""

    calls: Calls | None = None


_COUNTING = _Counting()


def count_calls(calls: Calls | None) -> Calls | None:
    """Start to count the draws of a forward pass at `calls` (`{}` for a new pass; None stops). Returns the previous
    counts, to be restored."""
    before, _COUNTING.calls = _COUNTING.calls, calls
    return before


def calls_so_far() -> Calls | None:
    """A copy of the counts, for a part of the forward pass that will run again; None outside of a counted pass."""
    return None if _COUNTING.calls is None else dict(_COUNTING.calls)


def call_key(key: Tensor, stream: int) -> Tensor:
    """The key for the next draw of `stream` in this forward pass: `key` itself for the first, other ones for a layer that is
    called again. Outside of a counted pass always `key`."""
    calls = _COUNTING.calls
    if calls is None:
        return key
    number = calls.get(stream, 0)
    calls[stream] = number + 1
    return stream_keys(key, stream_number(f"call {number}")) if number else key


def bits(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    """32 random bits per element: int32 of `shape` for a stream's scalar `key`, as in the forward pass of one lane."""
    return _mix_(elements(prod(shape), key.device) ^ key).reshape(shape)


def lane_bits(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`bits` for K lanes: int32 `[K, *shape]`, from `keys` int32 `[K]`."""
    return _mix_(elements(prod(shape), keys.device) ^ keys[:, None]).reshape(-1, *shape)


def to_uniform(random: Tensor) -> Tensor:
    """Uniform on [0, 1) with 24 bits, float32."""
    return ((random >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24


CHUNK = 1 << 17
"""Numbers drawn at a time: more would not stay in a core's cache, fewer are dominated by call overhead."""
STARTS = 1 << 16
"""Windows in a table of random numbers."""


@lru_cache(maxsize=64)
def windows(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two tables of random 16-bit numbers, as views of all their windows of `count` numbers: int16 `[STARTS, count]`."""
    tables = _tables(max(0, count - 1).bit_length(), device)
    with temporarily_clear_interpreter_stack():
        return tables[0].as_strided((STARTS, count), (1, 1)), tables[1].as_strided((STARTS, count), (1, 1))


@lru_cache(maxsize=16)
def _tables(doublings: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two tables, int16 `[STARTS + 2^doublings]`. A longer table begins with the shorter one."""
    with temporarily_clear_interpreter_stack():  # what is cached must not be of a transform
        numbers = torch.arange(STARTS + (1 << doublings), dtype=torch.int32, device=device)
        first, second = (mix(numbers ^ stream_number(f"keep/{name}")) >> 16 for name in ("first", "second"))
        return first.to(torch.int16), second.to(torch.int16)


def least_kept(p: float) -> int:
    """The smallest signed 16-bit number that `keep_mask` keeps if it drops with probability `p`.

    p is rounded to a multiple of 2^-16, and to at most 1 − 2^-16.
    """
    return min(round(p * 2**16) - 2**15, 2**15 - 1)


def keep_mask(key: Tensor, least: Tensor, shape: tuple[int, ...]) -> Tensor:
    """1 with probability 1 − p, else 0, independently for each element; p = 0 keeps all. float32 of `shape`.

    `key` int32 and `least` int16 (`least_kept(p)`), both scalars. An element's 16 bits are the exclusive or of two windows
    of random tables; the key says where the windows begin. This is tabulation hashing (Carter &
    Wegman 1979): the numbers of any three keys are independent, in two passes where hashing each element takes twelve. In
    one of 65,536 pairs of masks the overlapping part of one is a shifted copy of the other. The result is float because
    boolean comparisons, and products with booleans, take several times as long on a CPU.
    """
    if torch._C._functorch.is_functorch_wrapped_tensor(key):
        return _masks_under_transforms(key, least, shape)
    if key.device.type != "cpu":
        return keep_masks(key[None], least[None], shape)[0]
    # Python integers: for a small layer, scalar tensors would take most of the time.
    count, number = prod(shape), int(key)
    first, second = windows(count, key.device)
    drawn = torch.bitwise_xor(first[number & (STARTS - 1)], second[(number >> 16) & (STARTS - 1)])
    return torch.ge(drawn, int(least), out=torch.empty(count)).view(shape)


def keep_masks(keys: Tensor, least: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`keep_mask` for K lanes: float32 `[K, *shape]`, from `keys` int32 and `least` int16, both `[K]`."""
    tables = windows(prod(shape), keys.device)
    starts = torch.stack([keys, keys >> 16]).bitwise_and_(STARTS - 1)
    masks = torch.empty(len(keys), *shape, device=keys.device)
    lanes = max(1, CHUNK // max(1, prod(shape))) if keys.device.type == "cpu" else len(keys)
    for first in range(0, len(keys), lanes):
        part = slice(first, first + lanes)
        drawn, other = (table.index_select(0, at[part]) for table, at in zip(tables, starts, strict=True))
        torch.ge(drawn.bitwise_xor_(other), least[part, None], out=masks[part].view(len(drawn), -1))
    return masks


def _masks_under_transforms(key: Tensor, least: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`keep_mask` under vmap, of all lanes at once, and under `torch.func.grad`, by which integers have no gradient."""
    functorch = torch._C._functorch
    if functorch.is_gradtrackingtensor(key):
        return keep_mask(functorch.get_unwrapped(key), least, shape)
    if functorch.is_gradtrackingtensor(least):
        return keep_mask(key, functorch.get_unwrapped(least), shape)
    keys = functorch.get_unwrapped(key)
    leasts = functorch.get_unwrapped(least) if functorch.is_batchedtensor(least) else least.expand(len(keys))
    with temporarily_clear_interpreter_stack():
        masks = keep_masks(keys, leasts, shape)
    batched: Tensor = functorch._add_batch_dim(masks, 0, functorch.maybe_get_level(key))
    return batched


class Draws:
    """Random draws of K lanes, each at its own seed and step. Passed to data tricks.

    Every method takes the name of a stream (two draws with one name are the same numbers) and the shape of
    one lane's draw, and returns `[K, *shape]`.
    """

    def __init__(self, keys: Tensor, prefix: str = "") -> None:
        self.keys = keys
        self.prefix = prefix

    def within(self, prefix: str) -> Draws:
        """The same draws with prefixed stream names, which cannot clash with those of another trick."""
        return Draws(self.keys, f"{prefix}/")

    def bits(self, stream: str, *shape: int) -> Tensor:
        """int32 `[K, *shape]`: 32 random bits per element."""
        return lane_bits(stream_keys(self.keys, stream_number(self.prefix + stream)), shape)

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
        """int64 `[K, count]`: one permutation per lane."""
        return self.bits(stream, count).argsort(dim=1, stable=True)
