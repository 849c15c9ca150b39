"""The file to attach to a bug report: versions, the command, the study file, the traceback. No data, and no password of an address."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ablate import __version__
from ablate.records.secrets import mask_secrets, masked_command, without_secrets_of

PACKAGES = ("torch", "numpy", "optuna", "pandas", "scipy", "typer")
MOST = 100_000
"""Characters of a study file that are quoted."""


def bug_report(trace: str, words: Sequence[str]) -> str:
    """The report as text. `words`: of the command line; study files among them (`*.toml`) are quoted."""
    files = [f"study file {word}:\n{_text(Path(word))}" for word in words if word.endswith(".toml")]
    text = "\n\n".join([_versions(), f"command: {masked_command(words)}", *files, trace])
    return without_secrets_of(text, words)


def study_bug_report(trace: str, command: str, study: str) -> str:
    """The report of an error in a study, whose file has the text `study`."""
    return mask_secrets(
        "\n\n".join([_versions(), f"command: {command}", f"study file:\n{study[:MOST]}", trace])
    )


def _versions() -> str:
    packages = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return f"ablate {__version__}, Python {platform.python_version()}, {platform.platform()}\n\n{packages}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")[:MOST]
    except OSError as error:
        return f"cannot be read: {error.strerror}"
