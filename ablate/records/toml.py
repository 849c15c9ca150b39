"""Reading TOML with line numbers, and writing values.

`tomllib` reports where the syntax is wrong but not where a key is, so a second pass over text that is
known to be valid finds the line of every key and list element.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from ablate.records.errors import InputError

Path = tuple[str | int, ...]
Lines = dict[Path, int]

MAX_CHARACTERS = 1_000_000  # characters: a study file has a few hundred
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|\#[^\n]*)
    |(?P<newline>\n)
    |(?P<long>\"{3}(?:\\.|[^\\])*?\"{3,5}|'{3}.*?'{3,5})
    |(?P<text>"(?:\\.|[^"\\])*"|'[^']*')
    |(?P<mark>[\[\]{}=,.])
    |(?P<bare>[^\s\[\]{}=,.\#"']+)""",
    re.VERBOSE | re.DOTALL,
)
_WHERE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def read(text: str, source: str) -> tuple[dict[str, Any], Lines]:
    """The document, and path of keys -> line (from 1). Raises InputError with `source` and the line."""
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{source} is not a study file: {len(text):,} characters", hint="check the path")
    try:
        data, lines = tomllib.loads(text), _Scanner(text).lines
        large = [
            path for path, item in _leaves(data) if isinstance(item, int) and not -(2**63) <= item < 2**63
        ]
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        where = _WHERE.search(message)
        line = where[1] if where and where[1] else str(text.count("\n") + 1)
        shown = printable(text.split("\n")[int(line) - 1].strip(), 60)
        raise InputError(
            f"{source}, line {line}: invalid TOML ({printable(_WHERE.sub('', message))}): {shown}",
            hint="strings need quotes, lists need brackets: https://toml.io",
        ) from error
    except RecursionError as error:
        raise InputError(f"{source}: lists or tables are nested too deeply") from error
    except ValueError as error:  # Python does not parse integers of more than 4,300 digits
        raise InputError(f"{source}: an integer of more than 64 bits") from error
    if large:
        raise InputError(f"{source}, line {lines[large[0]]}: an integer of more than 64 bits")
    return data, lines


def printable(text: str, most: int = 200) -> str:
    """`text` with control characters escaped and at most `most` characters, safe to print on a terminal."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: most + 1])
    return shown if len(shown) <= most else shown[:most] + "…"


def key(name: str) -> str:
    """`name` as a TOML key, quoted if necessary."""
    return name if _BARE_KEY.fullmatch(name) else value(name)


def value(item: object) -> str:
    """`item` (bool, int, float, str, list or tuple, mapping) as a TOML value on one line."""
    match item:
        case bool():
            return "true" if item else "false"
        case int() | float():
            return repr(item)
        case str():
            return f'"{"".join(_escaped(c) for c in item)}"'
        case Mapping():
            inner = ", ".join(f"{key(name)} = {value(inner)}" for name, inner in item.items())
            return f"{{ {inner} }}" if inner else "{}"
        case list() | tuple():
            return f"[{', '.join(value(inner) for inner in item)}]"
        case _:
            raise TypeError(f"TOML has no {type(item).__name__}")


def _leaves(item: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    inner = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else None
    if inner is None:
        yield path, item
    else:
        for name, below in inner:
            yield from _leaves(below, (*path, name))


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if "\ud800" <= character <= "\udfff":
        raise InputError("a lone surrogate cannot be written to a TOML file", hint="rename it in UTF-8")
    return f"\\u{ord(character):04x}" if character < " " or character == "\x7f" else character


class _Scanner:
    """Records the line of each key in valid TOML. An array of tables counts as one table."""

    def __init__(self, text: str) -> None:
        self.lines: Lines = {}
        self._tokens: list[tuple[str, str, int]] = []
        line = 1
        for match in _TOKEN.finditer(text):
            if match.lastgroup != "space":
                self._tokens.append((str(match.lastgroup), match[0], line))
            line += match[0].count("\n")
        self._at = 0
        table: Path = ()
        while self._at < len(self._tokens):
            kind, token, _ = self._tokens[self._at]
            if kind == "newline":
                self._at += 1
            elif token == "[":
                self._skip("[")
                table = self._key(())
                self._skip("]")
            else:
                self._pair(table)

    def _peek(self) -> str:
        """The next token other than a newline."""
        while self._at < len(self._tokens) and self._tokens[self._at][0] == "newline":
            self._at += 1
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _skip(self, mark: str) -> None:
        while self._at < len(self._tokens) and self._tokens[self._at][1] == mark:
            self._at += 1

    def _key(self, path: Path) -> Path:
        """Read `a."b c".d` and record the line of each part."""
        while True:
            kind, token, line = self._tokens[self._at]
            name = tomllib.loads(f"k = {token}")["k"] if kind == "text" else token
            path = (*path, name)
            self.lines.setdefault(path, line)
            self._at += 1
            if self._tokens[self._at][1] != ".":
                return path
            self._at += 1

    def _pair(self, table: Path) -> None:
        path = self._key(table)
        self._skip("=")
        self._value(path)

    def _value(self, path: Path) -> None:
        opening = self._tokens[self._at][1]
        if opening in ("{", "["):
            self._at += 1
            number = 0
            while self._peek() not in ("}", "]"):
                if self._peek() == ",":
                    self._at += 1
                elif opening == "{":
                    self._pair(path)
                else:
                    self.lines[(*path, number)] = self._tokens[self._at][2]
                    self._value((*path, number))
                    number += 1
            self._at += 1
            return
        while self._at < len(self._tokens):
            kind, token, _ = self._tokens[self._at]
            if kind == "newline" or token in (",", "}", "]"):
                return
            self._at += 1
