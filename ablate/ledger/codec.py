"""Documents as strict JSON and per-example scores as packed doubles: what goes in comes out, bit for bit.

JSON has no NaN and no infinity, and Python's habit of writing them all the same breaks every other reader.
They are written as `{"$float": "nan"}` (`inf`, `-inf`): valid JSON, not to be mistaken for a value (null
could be "missing", and the string "nan" is a legal setting), and visible to whoever reads the file.
A key that begins with `$` gets a second one, so every document round-trips. Finite floats are written as
the shortest decimal that reads back as the same double.

Scores are the only bulk, so they are binary: a JSON head (split → count), a newline, then little-endian
doubles, their bytes transposed (all first bytes, all second bytes …) and deflated. Scores computed in
float32 and widened have four bytes of eight almost constant, so this halves them or better.
"""

from __future__ import annotations

import json
import sys
import zlib
from array import array
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

_TAG = "$float"
_DOUBLE = 8


def encode(document: Any) -> str:
    """`document` (dict with string keys, list, tuple, str, bool, int, float, None) as strict ASCII JSON.

    Tuples come back as lists. Raises TypeError for anything else: the ledger stores no objects.
    """
    return json.dumps(_escape(document), allow_nan=False, separators=(",", ":"))


def decode(text: str) -> Any:
    """The document that `encode` was given. Raises ValueError."""
    return json.loads(text, object_hook=_unescape, parse_constant=_refuse)


def pack(scores: Mapping[str, Sequence[float]]) -> bytes:
    """Split -> per-example scores, as bytes; empty for no scores."""
    if not scores:
        return b""
    head = encode({split: len(values) for split, values in scores.items()})
    doubles = array("d", (value for values in scores.values() for value in values))
    if sys.byteorder == "big":
        doubles.byteswap()
    plain = doubles.tobytes()
    planes = b"".join(plain[place::_DOUBLE] for place in range(_DOUBLE))
    return head.encode() + b"\n" + zlib.compress(planes, 1)


def unpack(packed: bytes) -> dict[str, tuple[float, ...]]:
    """What `pack` was given. Raises ValueError, zlib.error."""
    if not packed:
        return {}
    head, _, body = packed.partition(b"\n")
    counts: dict[str, int] = decode(head.decode())
    total = sum(counts.values())
    planes = zlib.decompress(body)
    if len(planes) != total * _DOUBLE:
        raise ValueError(f"{len(planes)} bytes of scores where {total * _DOUBLE} were announced")
    plain = bytearray(len(planes))
    for place in range(_DOUBLE):
        plain[place::_DOUBLE] = planes[place * total : (place + 1) * total]
    doubles = array("d", bytes(plain))
    if sys.byteorder == "big":
        doubles.byteswap()
    scores, start = {}, 0
    for split, count in counts.items():
        scores[split] = tuple(doubles[start : start + count])
        start += count
    return scores


def _escape(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else {_TAG: repr(float(value))}
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("the keys of a document in the ledger must be strings")
        return {f"${key}" if key[:1] == "$" else key: _escape(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escape(item) for item in value]
    raise TypeError(f"the ledger stores plain documents, not {type(value).__name__}")


def _unescape(item: dict[str, Any]) -> Any:
    if _TAG in item:
        return float(item[_TAG])
    if any(key[:1] == "$" for key in item):
        return {key.removeprefix("$"): value for key, value in item.items()}
    return item


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")
