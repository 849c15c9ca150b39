"""Addresses of databases and files as they may be shown: without anything that could be a secret.

What is shown of a URL is an allow-list: scheme, host, port, database, and the
values of a few harmless query parameters. User names are left out too, because a token may stand in their place.
"""

from __future__ import annotations

import re
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "***"
HARMLESS = frozenset(
    {"host", "port", "dbname", "database", "mode", "uri", "charset", "sslmode", "driver", "timeout", "connect_timeout"}
)  # fmt: skip
"""Query parameters whose values are shown."""
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:/{1,3})(?P<rest>\S.*)", re.DOTALL)
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_ASSIGNMENT = re.compile(
    r"(?P<key>[\w.-]*(?:pass|pwd|secret|token|key|auth|cred|sig)[\w.-]*\s*[=:]\s*)(?P<value>[^\s;&,]+)",
    re.IGNORECASE,
)
_SHORT = 4


def shown_address(address: str) -> str:
    """`address` without user, password, fragment and the values of query parameters other than HARMLESS.

    The user part ends at the last `@`, because passwords are typed unescaped; if a query may have begun before it, only the scheme is shown. A plain path is shown unchanged, except for
    what precedes an `@` after a colon, and for the values of assignments to secrets (`password=…`).
    """
    url = _URL.fullmatch(address)
    if url is None:
        before, at, after = address.rpartition("@")
        return _ASSIGNMENT.sub(rf"\g<key>{MASK}", f"{MASK}@{after}" if at and ":" in before else address)
    user, at, location = url["rest"].rpartition("@")
    if {"?", "#"} & set(user):  # of a password typed unescaped, or of a query whose value has the "@"
        return url["scheme"] + MASK
    location, fragment, _ = location.partition("#")
    location, question, query = location.partition("?")
    location = _ASSIGNMENT.sub(rf"\g<key>{MASK}", location)
    parts = [_shown_parameter(part) for part in re.split("[&;]", query)] if query else []
    return "".join([
        url["scheme"], MASK + at if at else "", location, question, "&".join(parts), f"#{MASK}" if fragment else "",
    ])  # fmt: skip


def without_secrets(text: str, address: str) -> str:
    """`text` (a driver's message, a command line) without the secrets of `address`, however they are encoded."""
    text = text.replace(address, shown_address(address))
    text = _URL_IN_TEXT.sub(lambda match: shown_address(match[0]), text)
    for secret in _spellings(_secrets(address)):
        pattern = re.escape(secret)
        text = re.sub(rf"(?<!\w){pattern}(?!\w)" if len(secret) < _SHORT else pattern, MASK, text)
    return text


def _shown_parameter(part: str) -> str:
    key, equals, value = part.partition("=")
    if not equals:
        return MASK
    return (
        part
        if key.lower() in HARMLESS and _ASSIGNMENT.search(unquote_plus(value)) is None
        else f"{key}={MASK}"
    )


def _secrets(address: str) -> set[str]:
    """The parts of `address` that `shown_address` hides."""
    secrets = {match["value"] for match in _ASSIGNMENT.finditer(address)}
    url = _URL.fullmatch(address)
    location = url["rest"] if url else address
    user, at, host = location.rpartition("@")
    if at and (url or ":" in user):
        name, colon, password = user.partition(":")
        secrets |= {user, *re.split("[@:/]", password)} if colon else {name}
        secrets.add(password)
    for rest in (host, location) if url else ():
        query = rest.partition("#")[0].partition("?")[2]
        for part in filter(None, re.split("[&;]", query)):
            if _shown_parameter(part) != part:
                key, equals, value = part.partition("=")
                secrets |= {value if equals else key, *re.split("[@:/]", value)}
                nested = unquote_plus(value).split(";")  # a connection string of its own
                secrets |= {inner.partition("=")[2] for inner in nested if "=" in inner}
        fragment = rest.partition("#")[2]
        secrets |= {fragment, *re.split("[@:/]", fragment)}
    return secrets - {"", MASK}


def _spellings(secrets: set[str]) -> list[str]:
    """Each secret as given, decoded and encoded; the longest first, so that no part of one is left."""
    spelled = {
        f(secret)
        for secret in secrets
        for f in (
            str,
            unquote,
            unquote_plus,
            quote,
            quote_plus,
            lambda s: quote(s, ""),
            lambda s: quote(unquote(s), ""),
        )
    }
    return sorted(spelled - {""}, key=lambda secret: (-len(secret), secret))
