"""Folders of Python's own modules and of installed packages: code in them is not the user's."""

from __future__ import annotations

import site
import sysconfig
from functools import cache
from pathlib import Path

INSTALLED = ("site-packages", "dist-packages")
"""Names of folders of installed packages, whatever environment they belong to."""


@cache
def library_folders() -> frozenset[Path]:
    """The folders of this environment and of the user."""
    folders = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    return frozenset(Path(folder).resolve() for folder in (*folders, site.getusersitepackages()))


def is_installed(file: Path) -> bool:
    """Whether `file` is Python's or of an installed package, of this environment or another one on the path."""
    return any(part in INSTALLED for part in file.parts) or any(
        file.is_relative_to(folder) for folder in library_folders()
    )
