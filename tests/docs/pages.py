"""The fenced blocks of a page of the documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import ablate

DOCS = Path(ablate.__file__).parents[1] / "docs"
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


STUBBED = {
    "howto/cluster.md": "needs Ray, SLURM and a scheduler: its blocks run with stubs in test_other_pages.py",
}
"""Pages whose files no command of the page uses, with the reason."""


@dataclass(frozen=True)
class Block:
    """`title`: the file that the block is to be written to, else ""."""

    language: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    return [Block(*fence) for fence in FENCE.findall((DOCS / page).read_text(encoding="utf-8"))]
