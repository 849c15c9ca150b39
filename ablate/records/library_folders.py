"""Folders of Python's own modules and of installed packages: code in them is not the user's."""

from __future__ import annotations

import site
import sysconfig
from pathlib import Path

INSTALLED = ("site-packages", "dist-packages")
"""Names of folders of installed packages, whatever environment they belong to."""


def library_folders() -> frozenset[Path]:
    """The folders of this environment and of the user."""
    folders = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    return frozenset(Path(folder).resolve() for folder in (*folders, site.getusersitepackages()))
