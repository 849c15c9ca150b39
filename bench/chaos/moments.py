"""`python -m bench.chaos.moments SIGNAL TIMES MOMENT WORDS…`: `ablate WORDS`, which sends itself a signal at one exact moment.

TIMES: 1 or 2; 0 for once to every process of its group, as a terminal or a batch system does.
Before, it writes `SENT` in the working directory: when, how much processor time it had taken, and the runs that it had recorded.
MOMENT: `import:N`, when the N-th module is looked for; `call:N`, at the N-th call of a Python function; `shutdown`, when the
interpreter waits for its threads; `exit`, among its exit functions. A moment in time would depend on the machine.
`count` sends nothing: `RANGE` then has the numbers of imports and calls of the command.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from ablate.cli.app import main

SENT, RANGE = ".signal-sent.json", ".moments.json"
BEGAN = time.time()


def send(number: int, times: int) -> None:
    about = {
        "at": time.time(),
        "wall": time.time() - BEGAN,
        "processor": time.process_time(),
        "finished": sorted(finished_runs()),
    }
    Path(SENT).write_text(json.dumps(about))
    if not times:
        os.killpg(0, number)
    for _ in range(times):
        os.kill(os.getpid(), number)


def finished_runs() -> set[str]:
    """What the ledgers that this process has open acknowledged as recorded; nothing of one that is just writing."""
    store = sys.modules.get("ablate.ledger.store")
    kind = getattr(store, "Ledger", None)
    ledgers = [one for one in gc.get_objects() if type(one) is kind] if kind else []
    indices = [ledger._index for ledger in ledgers if getattr(ledger, "_index", None) is not None]
    return {name for index in indices for name, row in index.runs.items() if row.finished}


class AtImport:
    """A finder of modules that finds none, and calls `action` when it is asked for the N-th."""

    def __init__(self, count: int, action: Callable[[], object]) -> None:
        self.left, self.action = count, action

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        self.left -= 1
        if self.left == 0:
            self.action()


def at_call(count: int, action: Callable[[], object]) -> None:
    left = count

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left
        if event == "call":
            left -= 1
            if left == 0:
                sys.setprofile(None)
                action()

    sys.setprofile(profile)


def count_moments() -> None:
    """Write `RANGE` when the process ends."""
    counted = Counter[str]()

    class Counting(AtImport):
        def find_spec(self, name: str, path: Any, target: Any = None) -> None:
            counted["import"] += 1

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        counted["call"] += event == "call"

    def write() -> None:
        sys.setprofile(None)
        Path(RANGE).write_text(json.dumps(counted))

    atexit.register(write)
    sys.meta_path.insert(0, Counting(0, lambda: None))  # type: ignore[arg-type]
    sys.setprofile(profile)


def arrange(moment: str, action: Callable[[], object]) -> None:
    """Let `action` be called at `moment` of the command that follows."""
    kind, _, count = moment.partition(":")
    if kind == "call":
        at_call(int(count), action)
    elif kind == "import":
        sys.meta_path.insert(0, AtImport(int(count), action))  # type: ignore[arg-type]
    else:
        register = atexit.register if kind == "exit" else getattr(threading, "_register_atexit")  # noqa: B009
        sys.meta_path.insert(0, AtImport(1, lambda: register(action)))  # type: ignore[arg-type]


if __name__ == "__main__":
    given, times, moment = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    for name in ("SIGHUP", "SIGTERM", "SIGUSR1"):
        signal.signal(
            getattr(signal, name), signal.SIG_DFL
        )  # whatever this process inherited, from nohup for example
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["ablate", *sys.argv[4:]]
    if moment == "count":
        count_moments()
    else:
        arrange(moment, lambda: send(given, times))
    main()
