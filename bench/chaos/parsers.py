"""S1, by fuzzing: whatever a parser of files reads, it answers with its result or with one line, never with another exception.

Starts from valid inputs that hypothesis mutates: bytes are cut, repeated, replaced and joined.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ablate.catalogue.own_tricks import own_tricks
from ablate.catalogue.registry import registry
from ablate.ranking.tables.csv_reader import read_table
from ablate.records import claim_file
from ablate.records import study as studies
from ablate.records.errors import AblateError
from ablate.study.recipes import read_recipe
from bench.chaos.promise import ROOT, Tally
from bench.chaos.tiny_study import STUDY

PIECES = st.sampled_from(
    [b"[", b"]", b"{", b"}", b'"', b"'", b"=", b",", b"\n", b"#", b"nan", b"inf", b"-1", b"1e999", b"9" * 30, b"true",
     b"[[", b"\x00", b"\xff\xfe", "\u00e9\u2028".encode(), b"..", b"/", b"\\", b"task", b"lr", b"optimizer", b"$(x)"]
)  # fmt: skip
Parser = Callable[[Path], object]
AT_ONCE = 2000
"""Files of one kind before the next kind has its turn."""
FILES = {"trick": "file.py", "table of runs": "file.csv"}


def _text(parse: Callable[[str], object]) -> Parser:
    """A parser of text, for the bytes of a file that are UTF-8; others are refused before it."""
    return lambda path: parse(path.read_bytes().decode("utf-8", "replace"))


def parsers() -> dict[str, tuple[bytes, Parser]]:
    """Name -> (a valid file, its parser)."""
    known = registry()
    claim = next(iter(sorted((ROOT / "studies" / "claims").glob("*.toml"))))
    trick = next(iter(sorted((ROOT / "ablate" / "catalogue" / "data").glob("[a-z]*.py"))))
    return {
        "study file": (STUDY.encode(), _text(lambda text: studies.parse(text, "x.toml", catalogue=known))),
        "claim file": (claim.read_bytes(), _text(lambda text: claim_file.parse(text, "x.toml", catalogue=known))),
        "recipe": (b"[momentum]\nlr = 0.1\n[dropout]\np = 0.2\n", lambda path: read_recipe(path, known)),
        "table of runs": (b"lr,dropout.on,accuracy\n0.1,1,0.9\n0.2,0,0.8\n0.1,0,0.7\n", read_table),
        "trick": (trick.read_bytes(), lambda path: own_tricks([str(path)])),
    }  # fmt: skip


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
        return f"{type(error).__name__}: {error}"
    return ""


def fuzz(name: str, valid: bytes, parser: Parser, file: Path, count: int, draws: int, tally: Tally) -> None:
    """`count` mutations of one kind of file. `draws`: the seed."""

    @seed(draws)
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(mutated(valid))
    def read(content: bytes) -> None:
        told = seen(content, file, parser)
        tally.add(told and f"{name}: {told[:150]!r} from {content[:80]!r}")

    read()


def check(folder: Path, count: int, draws: int, tally: Tally) -> None:
    """`count` mutated files of each kind, in turn, a part at a time."""
    known = parsers()
    for part in range(-(-count // AT_ONCE)):
        for name, (valid, parser) in known.items():
            if tally.late:
                return
            few = min(AT_ONCE, count - part * AT_ONCE)
            fuzz(name, valid, parser, folder / FILES.get(name, "file.toml"), few, draws + 1000 * part, tally)
