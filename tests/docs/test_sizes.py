"""Sizes that the documents name, counted anew by the commands that stand beside them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "kernels.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(cat .*)  # (\w+)$", PAGE, re.MULTILINE)


def test_each_kernel_has_a_command():
    assert [name for _, name in COMMANDS] == ["compiled", "batched", "loop", "vmap"]


@pytest.mark.parametrize(("command", "kernel"), COMMANDS)
def test_the_table_of_kernels_has_their_lines(command: str, kernel: str):
    """Within a tenth: the table is rounded, and need not follow every line."""
    named = re.search(rf"^\| {kernel} \|[^|]*\| ([\d,]+) \|", PAGE, re.MULTILINE)
    assert named
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT / "ablate" / "kernels", capture_output=True, text=True, check=True
    )
    assert int(named[1].replace(",", "")) == pytest.approx(int(done.stdout), rel=0.1)


def test_the_architecture_is_wrapped():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not [line for line in prose.splitlines() if len(line) > 120 and not line.startswith("|")]
