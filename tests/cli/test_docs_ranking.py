"""The commands in docs/ranking.md are understood as they stand there."""

import re
from pathlib import Path

import pytest
from cli_samples import INLINE, STUDY, TASK, ablate

TEXT = (Path(__file__).parents[2] / "docs" / "ranking.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("ablate ")
]


def test_there_are_commands():
    assert {line.split()[1] for line in COMMANDS} == {"plan", "rank", "study"}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_runs_on_a_small_study(capsys, tmp_path, monkeypatch, line):
    """On a small study in place of digits, and with a budget that takes no minutes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text(TASK)
    (tmp_path / "small.toml").write_text(STUDY.replace('design = "screening"\nwaves = 1\n', ""))
    words = [
        {"digits": "small.toml", "10m": "150runs", "2000runs": "200runs"}.get(word, word)
        for word in line.split()[1:]
    ]
    stages = ["--stages", "search,rank"] if words[0] == "study" else []
    said = ablate(capsys, *words, *stages, *INLINE)
    assert said.code == 0, said.err
