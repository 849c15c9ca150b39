"""A signal at any moment, once or twice: one line, its exit code, no traceback. `make chaos` has many more moments."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_samples import TASK
from test_cli_processes import ENVIRONMENT

from ablate.cli.signals import GRACE, TERMINATED, Signals, Stopped
from bench.chaos.moments import SENT
from bench.chaos.signals import NUMBERS, too_late

SLACK = 60.0
"""Seconds that a busy machine may keep a process waiting."""

MOMENTS = {
    "imports": ("import:60", "tricks"),
    "imports of torch": ("import:700", "study", "tiny.py:task", "--workers", "2"),
    "a command": ("call:30000", "tricks"),
    "waiting for threads": ("shutdown", "tricks"),
    "exit": ("exit", "tricks"),
}
CASES = [
    (signal.SIGINT, 1, "imports"),
    (signal.SIGTERM, 2, "imports"),
    (signal.SIGUSR1, 2, "imports of torch"),
    (signal.SIGHUP, 1, "a command"),
    (signal.SIGINT, 2, "waiting for threads"),
    (signal.SIGTERM, 1, "waiting for threads"),
    (signal.SIGINT, 1, "exit"),
    (signal.SIGUSR1, 2, "exit"),
    (signal.SIGHUP, 0, "imports of torch"),
]
"""0: once, to every process of the group."""


@pytest.mark.parametrize(
    ("number", "times", "moment"), CASES, ids=[f"{n.name}-{times}-{moment}" for n, times, moment in CASES]
)
def test_a_signal_is_answered_by_one_line(tmp_path: Path, number: signal.Signals, times: int, moment: str):
    (tmp_path / "tiny.py").write_text(TASK)
    when, *words = MOMENTS[moment]
    check_answer(tmp_path, number, times, when, words)


def random_moments(seed: int) -> list[tuple[signal.Signals, int, str, list[str]]]:
    """Ten signals: nine at an import, a call or the end of a command that needs no torch (0.15 s of processor time each), one while torch is imported.

    Before about the thousandth call no line of ablate has run, and Python's own handlers apply."""
    draw = random.Random(seed)
    kinds = [f"import:{draw.randrange(1, 170)}" for _ in range(4)]
    kinds += [f"call:{int(10 ** draw.uniform(3.3, 5))}" for _ in range(4)]
    moments = [(kind, ["tricks"]) for kind in [*kinds, draw.choice(["shutdown", "exit"])]]
    moments.append((f"import:{draw.randrange(200, 900)}", ["study", "tiny.py:task", "--workers", "2"]))
    return [(draw.choice(NUMBERS), draw.choice((0, 1, 2)), when, words) for when, words in moments]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_ten_signals_at_random_moments(tmp_path: Path, seed: int):
    (tmp_path / "tiny.py").write_text(TASK)
    for number, times, when, words in random_moments(seed):
        check_answer(tmp_path, number, times, when, words)


UNMEASURED = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("COVERAGE_")}
"""Without `make coverage`'s measurement, which handles SIGTERM itself and loads modules before ablate does."""


def check_answer(folder: Path, number: signal.Signals, times: int, when: str, words: list[str]) -> None:
    """Let `ablate WORDS` send itself a signal, see `bench.chaos.moments`: one line, and the exit code of the signal."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.chaos.moments", str(int(number)), str(times), when, *words],
        cwd=folder, env=UNMEASURED, capture_output=True, text=True, check=False, start_new_session=True,
    )  # fmt: skip
    ended = time.time()
    what, code = ("interrupted", 130) if number == signal.SIGINT else ("terminated", 143)
    case = f"{number.name} x{times} at {when} of {words}"
    assert done.stderr == f"ablate: {what}; what is finished is kept: run the same command to continue\n", (
        case
    )
    assert done.returncode == code, case
    assert not too_late(json.loads((folder / SENT).read_text()), ended), case


def test_a_signal_that_was_ignored_stays_ignored(tmp_path: Path):
    """As `nohup` does with SIGHUP, and a shell with SIGINT for what it starts in the background."""
    script = (
        "import os, signal, sys, threading\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from ablate.cli.app import main\n"
        "threading._register_atexit(lambda: os.kill(os.getpid(), signal.SIGHUP))\n"
        "sys.argv = ['ablate', '--version']\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


STUCK = """
import ctypes, os, threading, time
from pathlib import Path

def stop():
    Path("sent").write_text(str(time.time()))
    os.kill(os.getpid(), 15)

threading.Timer(0.1, stop).start()
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(256)
for _ in range(2):
    libc.pthread_mutex_lock(mutex)
"""
"""Locks one mutex twice: a call that never returns, and that no signal interrupts."""


def test_a_process_that_cannot_be_interrupted_ends_within_ten_seconds(tmp_path: Path):
    (tmp_path / "stuck.py").write_text(STUCK)
    done = subprocess.run(
        [sys.executable, "-m", "ablate.cli.app", "tasks", "stuck.py:task"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    took = time.time() - float((tmp_path / "sent").read_text())
    assert done.returncode == 143
    assert done.stderr == "ablate: terminated; what is finished is kept: run the same command to continue\n"
    assert GRACE <= took < GRACE + 2 + SLACK


def test_a_second_signal_does_not_interrupt_what_the_first_one_cleans_up():
    signals = Signals()
    with pytest.raises(Stopped):
        signals._stop(signal.SIGTERM, None)
    signals._stop(
        signal.SIGINT, None
    )  # ends the process by the thread that waits for it, and raises nothing here
    assert signals.number == signal.SIGTERM


def test_a_signal_behind_the_command_ends_the_process_whichever_thread_hears_of_it_first(monkeypatch):
    monkeypatch.setattr("os._exit", sys.exit)
    signals = Signals()
    signals.finish()
    signals.number, signals._said = (
        signal.SIGHUP,
        True,
    )  # the thread that waits for signals is printing the line
    with pytest.raises(SystemExit) as ended:
        signals._stop(signal.SIGHUP, None)
    assert ended.value.code == TERMINATED
