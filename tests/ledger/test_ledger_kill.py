"""kill -9: whatever was acknowledged is there, once; what was not is there whole or not at all."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ledger_samples import sample

from ablate.ledger.store import Ledger

HERE = Path(__file__).parent
PLANNED = 400

# A driver: plans, skips what is finished, records in batches of one to four, says so on a pipe.
DRIVER = """
import os, sys
from ablate.ledger.store import Ledger
from ledger_samples import sample
planned = {sample(number).identity: sample(number) for number in range(int(sys.argv[2]))}
with Ledger.open(sys.argv[1], write=True) as ledger:
    os.write(1, b"ready\\n")
    todo = [entry.run for name, entry in planned.items() if name not in ledger.finished()]
    while todo:
        batch, todo = todo[: 1 + len(todo) % 4], todo[1 + len(todo) % 4 :]
        ledger.record([planned[run.identity] for run in batch])
        os.write(1, "".join(f"{run.identity}\\n" for run in batch).encode())
"""


def start(path: Path, planned: int = PLANNED) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent.parent)])}
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(path), str(planned)], stdout=subprocess.PIPE, env=environment
    )


def test_killed_at_random_moments_nothing_acknowledged_is_lost(tmp_path: Path):
    path = tmp_path / "study.db"
    draw = random.Random(5)
    acknowledged: list[str] = []
    kills_while_writing = 0
    for _ in range(12):
        driver = start(path)
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"ready\n"
        time.sleep(draw.random() * 0.03)
        driver.send_signal(signal.SIGKILL)
        reported = driver.stdout.read().decode().splitlines()
        driver.stdout.close()
        kills_while_writing += driver.wait() == -signal.SIGKILL
        acknowledged += reported
        with Ledger.open(path, write=False) as ledger:
            there = [entry.identity for entry in ledger.entries()]
        assert len(there) == len(set(there))
        assert set(acknowledged) <= set(there)
    assert len(acknowledged) == len(set(acknowledged))  # no run was trained twice
    assert kills_while_writing >= 10

    assert start(path).communicate()[0].startswith(b"ready\n")
    with Ledger.open(path, write=True) as ledger:
        assert sorted(ledger.entries(), key=lambda entry: entry.run.seed) == [
            sample(n) for n in range(PLANNED)
        ]
        assert ledger.finished() == {sample(number).identity for number in range(PLANNED)}


# Killed at the n-th time that SQLite or the file writer asks the system for something that changes a file.
STEPWISE = """
import ctypes, os, sys
from ablate.ledger.store import Ledger
from ledger_samples import sample
with Ledger.open(sys.argv[1], write=True) as ledger:
    for number in range(2):
        ledger.record([sample(number)])
        os.write(1, f"{number}\\n".encode())
"""
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
static void step(void) {
    static long left = -1;
    if (left < 0) left = atol(getenv("KILL_AT"));
    if (--left == 0) kill(getpid(), SIGKILL);
}
#define WRAP(type, name, declared, given) \
    type name declared { static type (*real) declared; if (!real) real = dlsym(RTLD_NEXT, #name); step(); return real given; }
WRAP(ssize_t, pwrite, (int f, const void *b, size_t n, off_t o), (f, b, n, o))
WRAP(ssize_t, pwrite64, (int f, const void *b, size_t n, off64_t o), (f, b, n, o))
WRAP(int, fdatasync, (int f), (f))
WRAP(int, fsync, (int f), (f))
WRAP(int, unlink, (const char *p), (p))
WRAP(int, ftruncate, (int f, off_t n), (f, n))
WRAP(int, ftruncate64, (int f, off64_t n), (f, n))
WRAP(int, rename, (const char *a, const char *b), (a, b))
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    built = folder / "shim.so"
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", built, folder / "shim.c", "-ldl"], check=True)
    except FileNotFoundError:
        pytest.skip("needs a C compiler")
    return built


def test_killed_at_every_step_of_the_write_path(tmp_path: Path, shim: Path):
    """Before each write, fsync, unlink, truncate and rename from the first file to the second record."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent.parent)])}
    hot = 0
    for step in range(1, 200):
        path = tmp_path / f"{step}.db"
        environment |= {"LD_PRELOAD": str(shim), "KILL_AT": str(step)}
        done = subprocess.run(
            [sys.executable, "-c", STEPWISE, path], env=environment, stdout=subprocess.PIPE, check=False
        )
        words = done.stdout.decode().split()
        hot += (tmp_path / f"{step}.db-journal").exists()
        if path.exists():  # a reader comes first every other time, then a driver
            with Ledger.open(path, write=step % 2 == 0) as ledger:
                there = ledger.entries()
            assert there in (
                [sample(n) for n in range(len(words))],
                [sample(n) for n in range(len(words) + 1)],
            )
        else:
            assert words == []
        with Ledger.open(path, write=True) as ledger:
            known = ledger.finished()
            ledger.record([sample(number) for number in range(2) if sample(number).identity not in known])
            assert ledger.entries() == [sample(number) for number in range(2)]
        if done.returncode == 0:
            break
    assert done.returncode == 0  # the shim saw every step there is …
    assert step > 20
    assert hot > 4  # … and left journals to roll back
