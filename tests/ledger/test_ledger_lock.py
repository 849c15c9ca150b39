"""One driver per ledger, with real processes: simultaneous starts, kills, forks, leftovers."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ledger_samples import sample

from ablate.ledger.lock import Lock
from ablate.ledger.store import Ledger
from ablate.records.errors import AblateError, InputError

HERE = Path(__file__).parent
# Waits at the start line (the end of its input), opens, records, and keeps the ledger until told to stop.
STARTER = """
import sys
from ablate.ledger.store import Ledger
from ablate.records.errors import AblateError
from ledger_samples import sample
print("there", flush=True)
sys.stdin.readline()
try:
    with Ledger.open(sys.argv[1], write=True) as ledger:
        ledger.record([sample(int(sys.argv[2]))])
        print("works", flush=True)
        sys.stdin.readline()
except AblateError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""


def start(path: Path, number: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent.parent)])}
    return subprocess.Popen(
        [sys.executable, "-c", STARTER, str(path), str(number)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_sixteen_at_once_on_an_empty_study_one_works(tmp_path: Path):
    path = tmp_path / "study.db"
    starters = [start(path, number) for number in range(16)]
    assert [hear(process) for process in starters] == ["there"] * 16
    for process in starters:
        say(process)
    answers = [hear(process) for process in starters]
    assert answers.count("works") == 1
    winner = starters[answers.index("works")]
    line = rf"{re.escape(str(path))} is in use by process {winner.pid} on {re.escape(socket.gethostname())} \(since .*\); .*"
    for said in answers:
        assert said == "works" or re.fullmatch(line, said), said
    with Ledger.open(path, write=False) as ledger:  # readers are welcome meanwhile
        assert ledger.entries() == [sample(answers.index("works"))]
    for process in starters:
        output, _ = process.communicate("" if process is not winner else "stop\n")
        assert output == ""
        assert process.returncode == (0 if process is winner else 1)
    assert [item.name for item in tmp_path.iterdir()] == ["study.db"]


def test_the_lock_goes_with_a_killed_driver(tmp_path: Path):
    path = tmp_path / "study.db"
    driver = start(path, 1)
    hear(driver)
    say(driver)
    assert hear(driver) == "works"
    with pytest.raises(AblateError, match=f"process {driver.pid} on"):
        Ledger.open(path, write=True)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    assert (tmp_path / "study.lock").exists()
    with Ledger.open(path, write=True) as ledger:
        assert ledger.entries() == [sample(1)]
    assert not (tmp_path / "study.lock").exists()


def test_a_stopped_driver_keeps_its_lock(tmp_path: Path):
    driver = start(tmp_path / "study.db", 1)
    hear(driver)
    say(driver)
    assert hear(driver) == "works"
    driver.send_signal(signal.SIGSTOP)
    with pytest.raises(AblateError, match="is in use"):
        Ledger.open(tmp_path / "study.db", write=True)
    driver.send_signal(signal.SIGCONT)
    driver.communicate("stop\n")
    assert driver.returncode == 0


def test_a_forked_worker_does_not_keep_the_lock_of_a_dead_driver(tmp_path: Path):
    path = tmp_path / "study.db"
    driver = os.fork()
    if driver == 0:
        Lock(path)
        worker = os.fork()
        if worker == 0:
            time.sleep(300)
        else:
            (tmp_path / "worker").write_text(str(worker))
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    os.waitpid(driver, 0)
    worker = int((tmp_path / "worker").read_text())
    try:
        os.kill(worker, 0)  # alive
        deadline = time.monotonic() + 200
        while True:  # the child closes its copy first thing, which may still be to come
            try:
                Lock(path).release()
                break
            except AblateError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
    finally:
        os.kill(worker, signal.SIGKILL)


def test_links_to_one_ledger_meet_at_one_lock(tmp_path: Path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "link.db").symlink_to(tmp_path / "study.db")
    with (
        Ledger.open(tmp_path / "study.db", write=True),
        pytest.raises(AblateError, match=r"link\.db is in use"),
    ):
        Ledger.open(tmp_path / "other" / "link.db", write=True)


def test_release_twice_and_take_again(tmp_path: Path):
    lock = Lock(tmp_path / "study.db")
    lock.release()
    again = Lock(tmp_path / "study.db")
    lock.release()
    with pytest.raises(AblateError):
        Lock(tmp_path / "study.db")
    again.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"pid": "x", "host": 1}', '{"pid": 1e999}', "\x1b[31m" * 200]
)
def test_a_lock_file_with_anything_in_it(tmp_path: Path, content: str):
    """A leftover is no lock; a holder whose name cannot be read is 'another process'."""
    (tmp_path / "study.lock").write_text(content)
    lock = Lock(tmp_path / "study.db")
    lock.path.write_text(content)
    with pytest.raises(AblateError, match=r"study\.db is in use by another process; wait"):
        Lock(tmp_path / "study.db")
    lock.release()


def test_a_lock_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "folder.lock").mkdir()
    (tmp_path / "link.lock").symlink_to(tmp_path / "victim")
    for name in ("folder", "link"):
        with pytest.raises(InputError, match="cannot write"):
            Ledger.open(tmp_path / f"{name}.db", write=True)
    assert not (tmp_path / "victim").exists()


def test_a_lock_file_removed_between_open_and_lock_is_not_mistaken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The last holder releases (and removes the file) just before our lock on it succeeds."""
    last, real, calls = Lock(tmp_path / "study.db"), fcntl.flock, []

    def flock(descriptor: int, how: int) -> None:
        calls.append(descriptor)
        last.release()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    lock = Lock(tmp_path / "study.db")
    monkeypatch.undo()
    assert len(calls) == 2
    with pytest.raises(AblateError, match="is in use"):
        Lock(tmp_path / "study.db")
    lock.release()


# Stops itself (Ctrl-Z) within a query.
READER = """
import os, signal, sys
from ablate.ledger.store import Ledger
with Ledger.open(sys.argv[1], write=False) as ledger:
    ledger._read(lambda index: os.kill(os.getpid(), signal.SIGSTOP))
    print(len(ledger.finished()))
"""


def test_a_driver_waits_for_a_paused_reader_and_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ablate.ledger.schema.TELL_AFTER", 0.05)
    path, lines = tmp_path / "study.db", list[str]()
    with Ledger.open(path, write=True, waiting=lines.append) as ledger:
        ledger.record([sample(0)])
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(path)], stdout=subprocess.PIPE, text=True, env=environment
        )
        os.waitid(os.P_PID, reader.pid, os.WSTOPPED)
        threading.Timer(0.3, reader.send_signal, [signal.SIGCONT]).start()
        ledger.record([sample(1)])
        output, _ = reader.communicate()
        ledger.record([sample(2)])
    assert lines == [f"{path} is being read by another program, perhaps a paused one: waiting"]
    assert output.strip() in ("1", "2")
    with Ledger.open(path, write=False) as ledger:
        assert ledger.entries() == [sample(0), sample(1), sample(2)]


def test_without_anybody_to_be_told_a_writer_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ablate.ledger.schema.BUSY_TIMEOUT", 0.05)
    with Ledger.open(tmp_path / "study.db", write=True) as ledger:
        reader = Ledger.open(tmp_path / "study.db", write=False)
        reader._connection.execute("BEGIN")
        reader._connection.execute("SELECT digest FROM seal").fetchone()
        with pytest.raises(AblateError, match="was in use by another program"):
            ledger.record([sample(0)])
        reader.close()
        ledger.record([sample(0)])
        assert ledger.entries() == [sample(0)]
