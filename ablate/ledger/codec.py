"""Lossless encoding: documents as strict JSON, per-example scores as packed doubles.

JSON has no NaN and no infinity; Python writes them anyway, which other readers reject.
They are encoded as `{"$float": "nan"}` (`inf`, `-inf`): valid JSON and unambiguous (null
could mean "missing", and the string "nan" is a legal setting).
A key that begins with `$` gets a second one, so every document round-trips. Finite floats are written as
the shortest decimal that reads back as the same double.

Scores are the only large data, so they are binary: a JSON header (split → count), a newline, then little-endian
doubles, their bytes transposed (all first bytes, all second bytes …) and deflated. Four of the eight bytes of
scores computed in float32 are almost constant, so this at least halves them.
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
ESCAPE = '"$'
"""Stands in a document that has escaped keys or tagged values, perhaps in others, too."""
_DOUBLE = 8


def encode(document: Any) -> str:
    """`document` (dict with string keys, list, tuple, str, bool, int, float, None) as strict ASCII JSON.

    Tuples come back as lists. Raises TypeError for anything else: the ledger stores no objects.
    """
    return json.dumps(_escape(document), allow_nan=False, separators=(",", ":"))


def decode(text: str) -> Any:
    """The inverse of `encode`. Raises ValueError."""
    document, end = (_DECODER if ESCAPE in text else _PLAIN_DECODER).raw_decode(text)
    if end != len(text):
        raise ValueError("the text goes on after the document")
    return document


def pack(scores: Mapping[str, Sequence[float]]) -> bytes:
    """Split -> per-example scores, as bytes; empty for no scores."""
    if not scores:
        return b""
    head = encode({split: len(values) for split, values in scores.items()})
    doubles = array("d", (value for values in scores.values() for value in values))
    if sys.byteorder == "big":
        doubles.byteswap()
    plain = doubles.tobytes()
    planes = b"".join(plain[byte::_DOUBLE] for byte in range(_DOUBLE))
    return head.encode() + b"\n" + zlib.compress(planes, 1)


def unpack(packed: bytes) -> dict[str, tuple[float, ...]]:
    """The inverse of `pack`. Raises ValueError, zlib.error."""
    if not packed:
        return {}
    head, _, body = packed.partition(b"\n")
    counts: dict[str, int] = decode(head.decode())
    total = sum(counts.values())
    planes = zlib.decompress(body)
    if len(planes) != total * _DOUBLE:
        raise ValueError(f"{len(planes)} bytes of scores, {total * _DOUBLE} expected")
    plain = bytearray(len(planes))
    for byte in range(_DOUBLE):
        plain[byte::_DOUBLE] = planes[byte * total : (byte + 1) * total]
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
    raise TypeError(f"the ledger stores JSON documents, not {type(value).__name__}")


def _unescape(item: dict[str, Any]) -> Any:
    if _TAG in item:
        return float(item[_TAG])
    if any(key[:1] == "$" for key in item):
        return {key.removeprefix("$"): value for key, value in item.items()}
    return item


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(object_hook=_unescape, parse_constant=_refuse)
"""Making one costs more than decoding a run's metrics."""
_PLAIN_DECODER = json.JSONDecoder(parse_constant=_refuse)
"""The decoder of a text without escaped keys: it calls no Python function for each object."""
