"""The software that numbers depend on: a worker that has other versions than the driver trains nothing.

Two releases of torch sum in different orders, and the compiled kernel needs llvmlite: a study whose runs come from both would
compare their rounding. Code that is sent by value needs the same Python. The digest of ablate's own files also tells apart two checkouts of one version.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ablate
from ablate.records.errors import InputError

PACKAGES = ("torch", "numpy", "llvmlite")
MISSING = "none"
DIGITS = 12


@cache
def versions() -> Mapping[str, str]:
    """Name -> version in this process, `none` for a package that is not installed; for ablate with the digest of its files."""
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "ablate": f"{ablate.__version__} ({source_digest(Path(ablate.__file__).parent)})",
        **{name: _version(name) for name in PACKAGES},
    }


def check_versions(driver: Mapping[str, str], worker: Mapping[str, str], where: str) -> None:
    """Raise InputError, in one line, if the worker at `where` has other versions than the driver."""
    for name in driver:
        here, there = driver[name], worker.get(name, MISSING)
        if here != there:
            raise InputError(
                f"the worker on {where} has {name} {there}, the driver {name} {here}: their numbers would differ",
                hint="install the same versions on all machines, from one lock file or container image",
            )


def where() -> str:
    """This process, for messages: host and process id."""
    return f"{platform.node() or 'unknown'} (process {os.getpid()})"


def source_digest(package: Path) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of all Python files of a package, by path."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:DIGITS]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return MISSING
