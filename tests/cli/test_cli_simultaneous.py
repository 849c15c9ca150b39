"""Simultaneous `ablate study` on one study file: one works, the others say so in a line, and nothing is lost."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from cli_samples import STUDY, TASK
from test_cli_processes import ENVIRONMENT

from ablate.ledger.store import Ledger

# Forks the commands once everything is imported, so that they start within a moment. Who has the ledger waits until the others have ended.
STARTERS = """
import os, sys, time
from pathlib import Path
import ablate.study.ranking.stage, ablate.study.search
from ablate.api import stages
from ablate.cli import app

count, run_study = int(sys.argv[1]), stages.run_study

def held(*args, **more):
    Path(f"working-{os.getpid()}").touch()
    while len(list(Path().glob("ended-*"))) < count - len(list(Path().glob("working-*"))):
        time.sleep(0.02)
    return run_study(*args, **more)

stages.run_study = held
sys.argv = ["ablate", "study", "tiny.toml", "--stages", "search", "--executor", "inline", "--kernel", "loop"]
children = []
for number in range(count):
    child = os.fork()
    if child:
        children.append(child)
        continue
    os.dup2(os.open(f"out-{number}", os.O_WRONLY | os.O_CREAT), 1)
    os.dup2(os.open(f"err-{number}", os.O_WRONLY | os.O_CREAT), 2)
    while not Path("go").exists():
        time.sleep(0.001)
    code = 99
    try:
        app.main()
    except SystemExit as ended:
        code = ended.code
    finally:
        Path(f"part-{number}").write_text(str(code))
        os.replace(f"part-{number}", f"ended-{number}")
        os._exit(0)
Path("go").touch()
for child in children:
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize("count", [4, pytest.param(16, marks=pytest.mark.chaos)])
def test_of_simultaneous_starts_one_works(tmp_path: Path, count: int):
    (tmp_path / "tiny.py").write_text(TASK)
    (tmp_path / "tiny.toml").write_text(STUDY)
    subprocess.run(
        [sys.executable, "-c", STARTERS, str(count)], cwd=tmp_path, env=ENVIRONMENT, check=True, timeout=800
    )
    codes = [int((tmp_path / f"ended-{number}").read_text()) for number in range(count)]
    errors = [(tmp_path / f"err-{number}").read_text() for number in range(count)]
    assert sorted(codes) == [0] + [1] * (count - 1), errors
    (winner,) = (file.name.removeprefix("working-") for file in tmp_path.glob("working-*"))
    line = (
        rf"ablate: studies/tiny\.db is in use by process {winner} on .*; wait until it ends, or stop it; .*\n"
    )
    for code, said in zip(codes, errors, strict=True):
        assert code == 0 or re.fullmatch(
            line, said.rpartition("ablate: ")[1] + said.rpartition("ablate: ")[2]
        )
        assert "Traceback" not in said
    with Ledger.open(tmp_path / "studies" / "tiny.db", write=False) as ledger:
        finished = ledger.finished()
        assert len([entry for entry in ledger.entries("search") if entry.result.outcome.finished]) >= 3
    connection = sqlite3.connect(tmp_path / "studies" / "tiny.db")
    assert connection.execute("SELECT count(*) FROM runs").fetchone() == (len(finished),)
    connection.close()
    assert sorted(file.name for file in (tmp_path / "studies").iterdir()) == ["tiny.db"]
