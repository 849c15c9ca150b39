"""Secrets in any text (a command line, a traceback, a table's cell): passwords, tokens and keys in URLs, query strings and assignments."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from ablate.records.addresses import MASK, without_secrets

_SECRET = (
    r"pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|authorization|auth|signature|sig"
    r"|(?:api|access|private|account|secret|shared|session)[_-]?(?:access[_-]?)?(?:key|token|secret)(?:[_-]?id)?|key"
)
# The user part of a URL may hold "@" itself (a password typed unescaped): greedy up to the last "@" of it.
_USER = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<user>[^\s/?#\"'<>]*)@", re.IGNORECASE)
_QUERY = re.compile(
    rf"(?P<key>[?&;]\s*(?:[\w.-]*[_.-])?(?:{_SECRET})=)(?P<value>[^&;#\s\"'<>]+)", re.IGNORECASE
)
_FLAG = re.compile(
    rf"(?P<key>(?:^|[\s\"'{{,])-{{0,2}}(?:[\w-]*[_-])?(?:{_SECRET})\"?\s*(?:=|:)\s*[\"']?)(?P<value>[^\s\"',}}]+)",
    re.IGNORECASE,
)
_OPTION = re.compile(
    rf"(?P<key>--(?:[\w-]*-)?(?:{_SECRET})\s+[\"']?)(?P<value>[^\s\"'-][^\s\"']*)", re.IGNORECASE
)


def mask_secrets(text: str) -> str:
    """`text` with passwords, tokens and keys in URLs, query strings and assignments replaced by `***`."""
    text = _USER.sub(lambda m: m["scheme"] + _masked_user(m["user"]) + "@", text)
    for pattern in (_QUERY, _FLAG, _OPTION):
        text = pattern.sub(lambda m: m["key"] + MASK, text)
    return text


def without_secrets_of(text: str, words: Sequence[str]) -> str:
    """`text` without secrets of any kind, nor those of the addresses among `words` of a command line, however they are spelled in it."""
    for word in words:
        for address in (word, word.partition("=")[2]):
            if "@" in address or "://" in address:
                text = without_secrets(text, address)
    return mask_secrets(text)


def masked_command(words: Sequence[str]) -> str:
    """The command line `ablate WORDS` for a shell, without secrets: of each word, and of words after their option."""
    return mask_secrets(shlex.join(["ablate", *map(mask_secrets, words)]))


def _masked_user(user: str) -> str:
    """`name:password` -> `name:***`; a lone user part may be a token, so a long one is masked whole."""
    name, colon, _ = user.partition(":")
    if colon:
        return f"{name}:{MASK}"
    return MASK if len(name) > 20 else name
