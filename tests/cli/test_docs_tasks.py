"""The code in docs/tasks.md runs, and its table of criteria is the one in the code."""

from __future__ import annotations

import re
from pathlib import Path

from ablate.tasks.check import check
from ablate.tasks.metric_table import CRITERIA, DEFAULT, METRICS
from ablate.tasks.task import Task

TEXT = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")


def test_code_blocks_make_tasks_that_can_be_trained(tmp_path, monkeypatch):
    import runpy

    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 3
    for last in range(1, len(blocks) + 1):
        file = tmp_path / "task.py"
        file.write_text("\n".join(blocks[:last]), encoding="utf-8")
        task = runpy.run_path(str(file))["task"]
        assert isinstance(task, Task)
        assert check(task) == ()


def test_the_table_of_criteria_is_the_codes():
    rows = {
        row[0].strip("` "): row
        for row in (line.strip("|").split("|") for line in TEXT.splitlines() if line.startswith("| `"))
    }
    assert set(rows) == set(CRITERIA)
    for criterion, row in rows.items():
        names = [name.strip() for name in row[4].split(",")]
        assert f"validation/{names[0]}" == DEFAULT[criterion]
        assert set(names) | {"loss"} == set(METRICS[criterion])
