"""S1, by fuzzing: whatever a parser of files reads, it answers with its result or with one line, never with another exception.

Starts from valid inputs. Bytes are cut, repeated, replaced and joined; of a document (JSON) within a file, values are removed and replaced
by others, and the digest around it is made anew, as a forger would.
"""

from __future__ import annotations

import copy
import json
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ablate.records.errors import AblateError
from bench.chaos.files import known_files
from bench.chaos.promise import Tally

PIECES = st.sampled_from(
    [b"[", b"]", b"{", b"}", b'"', b"'", b"=", b",", b"\n", b"#", b"nan", b"inf", b"-1", b"1e999", b"9" * 30, b"true",
     b"[[", b"\x00", b"\xff\xfe", "\u00e9\u2028".encode(), b"..", b"/", b"\\", b"task", b"lr", b"optimizer", b"$(x)"]
)  # fmt: skip
VALUES = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1.5,
        float("nan"),
        float("inf"),
        10**30,
        "",
        "x",
        "../x",
        [],
        {},
        [1],
        ["x"],
        [[]],
        [{}],
        {"a": 1},
        {"a": {"b": 1}},
    ]
)
Parser = Callable[[Path], object]
Known = dict[str, tuple[Any, Parser]]
AT_ONCE = 2000
"""Files of one kind before the next kind has its turn."""
SUFFIXES = {"trick": "py", "table of runs": "csv", "task table": "csv", "task parquet": "parquet"}
SLOW = frozenset({"task table", "task parquet", "ledger's facts", "checkpoint", "forged checkpoint"})
"""Parsers that take more than a millisecond: a tenth of the files."""


def parsers() -> Known:
    """Name -> (a valid file or document, its parser)."""
    return known_files()


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """`valid` after a few cuts, repetitions and replacements."""
    content = valid
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 20)))
        piece = draw(PIECES | st.binary(max_size=3) | st.just(content[start:end] * 3))
        content = content[:start] + piece + content[end:]
    return content


def places(document: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all values in a document; of a long list of the first three."""
    yield at
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document[:3])
        if isinstance(document, list)
        else ()
    )
    for key, value in inner:
        yield from places(value, (*at, key))


@st.composite
def forged(draw: st.DrawFn, valid: Any) -> bytes:
    """The JSON of `valid` after one or two of its values were removed or replaced."""
    document = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(list(places(document))))
        value = copy.deepcopy(draw(VALUES))
        if not place:
            return json.dumps(value).encode()
        holder = document
        for key in place[:-1]:
            holder = holder[key]
        if draw(st.booleans()) and draw(st.booleans()):
            del holder[place[-1]]
        else:
            holder[place[-1]] = value
    return json.dumps(document).encode()


def seen(content: bytes, file: Path, parser: Parser) -> str:
    """What came instead of a result or one line; "" where the promise was kept."""
    file.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parser(file)
    except AblateError as error:
        return "more than one line" if "\n" in str(error) else ""
    except Exception as error:  # noqa: BLE001 - whatever else is raised breaks the promise, and is reported
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    return ""


def fuzz(name: str, valid: Any, parser: Parser, file: Path, count: int, draws: int, tally: Tally) -> None:
    """`count` mutations of one kind of file. `draws`: the seed."""

    @seed(draws)
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(mutated(valid) if isinstance(valid, bytes) else forged(valid))
    def read(content: bytes) -> None:
        complaint = seen(content, file, parser)
        tally.add(complaint and f"{name}: {complaint[:150]!r} from {content[:80]!r}")

    read()


def check(folder: Path, count: int, draws: int, tally: Tally) -> None:
    """`count` mutated files of each kind, in turn, a part at a time; a tenth of that where a file takes long."""
    known = parsers()
    for part in range(-(-count // AT_ONCE)):
        for name, (valid, parser) in known.items():
            if tally.late:
                return
            few = min(AT_ONCE, count - part * AT_ONCE)
            file = folder / f"file.{SUFFIXES.get(name, 'toml')}"
            fuzz(
                name, valid, parser, file, -(-few // 10) if name in SLOW else few, draws + 1000 * part, tally
            )
