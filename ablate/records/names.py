"""Validation of names that become file names, so that nothing is written outside its folder."""

from __future__ import annotations

import re

from ablate.records.errors import InputError

MAX_LENGTH = 64
_SAFE = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9._-]{{0,{MAX_LENGTH - 2}}}[A-Za-z0-9_-])?", re.ASCII)
# Device names of Windows, where a folder of studies may be copied: `nul.db` would discard its ledger.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE | re.ASCII)


def check_name(name: str) -> str:
    """`name`, if it is a safe study name: one that cannot leave its folder or name a device.

    1 to 64 of the letters a–z, A–Z, digits, `.`, `_`, `-`; it starts with a letter or digit and does not end
    with a dot. Raises InputError.
    """
    if not _SAFE.fullmatch(name) or ".." in name or _DEVICES.fullmatch(name):
        shown = name if len(name) <= MAX_LENGTH else name[:MAX_LENGTH] + "…"
        raise InputError(
            f"{shown!r} cannot be a study's name",
            hint=f"use 1 to {MAX_LENGTH} letters, digits, '-', '_' or single dots, starting with a letter or digit",
        )
    return name
