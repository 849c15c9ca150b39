"""The files that `ablate new trick NAME` writes: a working trick of a seam, to start from, and its test."""

from __future__ import annotations

from pathlib import Path

from ablate.records.errors import InputError, unknown
from ablate.records.trick import SEAMS

TEMPLATES = ("gradient", "criterion", "model", "optimizer", "schedule", "data")
"""Seams with a template, SEAM.py.txt and test_SEAM.py.txt: files of text, which no tool takes for code of ablate."""
_FOLDER = Path(__file__).parent / "trick_templates"


def trick_files(name: str, seam: str = "gradient") -> dict[str, str]:
    """File name -> content of the trick `name` and its test. Raises InputError for a seam without a template."""
    if seam not in SEAMS:
        raise unknown("seam", seam, TEMPLATES)
    if seam not in TEMPLATES:
        raise InputError(
            f"there is no template for the seam '{seam}'", hint=f"there are {', '.join(sorted(TEMPLATES))}"
        )
    title = name.replace("_", " ").capitalize()
    return {
        file: (_FOLDER / f"{template}.py.txt")
        .read_text(encoding="utf-8")
        .replace("NAME", name)
        .replace("TITLE", title)
        for file, template in ((f"{name}.py", seam), (f"test_{name}.py", f"test_{seam}"))
    }
