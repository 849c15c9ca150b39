"""The code of docs/python.md runs as it stands there, on fewer trials and a small budget."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ablate

ROOT = Path(ablate.__file__).parents[1]
TEXT = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SMALLER = {
    "margin=0.01": "margin=0.4",
    "trials=40": "trials=3",
    "trials=20": "trials=3",
    "epochs=10": "epochs=2",
    '"10m"': '"230runs"',
}


@pytest.mark.slow
def test_the_code_of_the_page_runs(tmp_path):
    code = "\n".join(BLOCKS)
    for given, smaller in SMALLER.items():
        assert given in code
        code = code.replace(given, smaller)
    (tmp_path / "page.py").write_text(
        "import matplotlib\nmatplotlib.use('Agg')\nfrom undrawn import leave_drawings_empty\nleave_drawings_empty()\n"
        + code
    )
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reports" / "Net" / "index.html").is_file()
