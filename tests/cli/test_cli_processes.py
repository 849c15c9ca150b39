"""What needs a process: start-up time, exit codes on signals, and that what was finished is kept."""

from __future__ import annotations

import os
import resource
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest
from cli_samples import STUDY, TASK

from ablate.ledger.store import Ledger

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
COMMAND = [sys.executable, "-m", "ablate.cli.app"]
SLOW = TASK.replace("epochs=2", "epochs=150")
BARE = [sys.executable, "-c", "import importlib.metadata, typer.main, typer.rich_utils"]
"""What every Typer program loads before it prints its help."""
BOUND = 1.4
"""Processor time of a command, as a multiple of a bare Typer program's; 0.7 for --help and 1.1 for tricks
were measured (2-core CPU). A ratio of runs side by side holds on a slow or busy machine too."""


def processor_seconds(command: list[str], folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("words", [["--help"], ["tricks"]], ids=["help", "tricks"])
def test_start_up_is_quick(words, tmp_path):
    ratios = [
        processor_seconds([*COMMAND, *words], tmp_path) / processor_seconds(BARE, tmp_path) for _ in range(3)
    ]
    assert median(ratios) <= BOUND, ratios


def test_nothing_heavy_is_imported_for_help_and_tricks():
    script = (
        "import sys\nfrom ablate.cli import app\nsys.argv = ['ablate', 'tricks']\n"
        "try:\n    app.main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'optuna', 'scipy', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_package_runs_as_a_module(tmp_path):
    module = [sys.executable, "-m", "ablate"]
    refused = subprocess.run(
        [*module, "tricks", "dropuot"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert refused.stderr == "ablate: unknown trick 'dropuot'; did you mean 'dropout'?\n"
    runpy.run_module("ablate", run_name="__mp_main__")  # as a worker process imports it: no command runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "executor"),
    [(signal.SIGTERM, 143, "inline"), (signal.SIGINT, 130, "processes")],
    ids=["SIGTERM", "SIGINT-processes"],
)
def test_a_signal_keeps_what_is_finished(tmp_path, number, code, executor):
    (tmp_path / "tiny.py").write_text(SLOW)
    (tmp_path / "tiny.toml").write_text(STUDY.replace("trials = 3", "trials = 60"))
    ledger = tmp_path / "studies" / "tiny.db"
    words = [
        "study",
        "tiny.toml",
        "--stages",
        "search",
        "--executor",
        executor,
        "--workers",
        "2",
        "--lanes",
        "2",
    ]
    driver = subprocess.Popen(
        [*COMMAND, *words], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 400
    while not (known := kept(ledger)) and time.monotonic() < end:
        assert driver.poll() is None, driver.stderr.read()
        time.sleep(0.1)
    # Ctrl-C on a terminal reaches every process of the foreground.
    (os.killpg if number == signal.SIGINT else os.kill)(driver.pid, number)
    out, err = driver.communicate(timeout=400)
    assert driver.returncode == code, err
    assert len(kept(ledger)) < 60, "it finished the study instead of ending"
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1].endswith("what is finished is kept: run the same command to continue")
    assert known
    assert known <= kept(ledger)
    assert not ledger.with_suffix(".lock").exists()
    with Ledger.open(ledger, write=True) as opened:
        assert opened.finished() == kept(ledger)


def kept(ledger: Path) -> set[str]:
    if not ledger.exists():
        return set()
    with Ledger.open(ledger, write=False) as opened:
        return opened.finished()
