"""Ctrl-C and the signals that end a process: state is kept, one line is printed, the exit code says which signal it was.

The first signal raises `Stopped` in the main thread, so that files are closed and workers end on the way out. The process is
ended at once, which loses nothing either (a ledger survives SIGKILL), by a second signal, after `GRACE` seconds, or where the
exception cannot be raised: when the interpreter is exiting, or inside a finaliser, which would swallow it. A thread does that: the
interpreter reports each signal to it through a pipe (`signal.set_wakeup_fd`), even while the main thread is in a long call of C.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

NUMBERS = tuple(
    int(getattr(signal, name)) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
INTERRUPTED, TERMINATED = 130, 143
"""Exit codes of SIGINT, and of the others."""
GRACE = 8.0
"""Seconds from the first signal to the end of the process."""
KEPT = "what is finished is kept: run the same command to continue"


class Stopped(BaseException):
    """A signal told the process to end. Not a KeyboardInterrupt, which libraries handle in their own ways."""


class Signals:
    """The handlers of one process. A signal that was ignored at the start (by `nohup`, or in the background) stays ignored."""

    def __init__(self) -> None:
        self.number = 0
        """The first signal received; 0 for none."""
        self._raised = self._finished = self._said = False
        self._saying = threading.Lock()
        self._pipe, self._report = os.pipe()

    def install(self) -> None:
        """Handle the signals from here to the end of the process. Call in the main thread."""
        caught = [number for number in NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]
        # The first function registered is the last to run: only the interpreter's own end follows.
        atexit.register(lambda: [signal.signal(number, signal.SIG_IGN) for number in caught])
        self._other_unraisable, sys.unraisablehook = sys.unraisablehook, self._unraisable
        os.set_blocking(self._report, False)
        signal.set_wakeup_fd(self._report, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, daemon=True).start()
        for number in caught:
            signal.signal(number, self._stop)

    def finish(self) -> None:
        """The command is done: from here on a signal raises nothing, but ends the process."""
        self._finished = True

    def say(self) -> int:
        """Print the line, once; returns the exit code."""
        with self._saying:
            if not self._said:
                self._said = True
                what = "interrupted" if self.number == signal.SIGINT else "terminated"
                os.write(2, f"ablate: {what}; {KEPT}\n".encode())
        return INTERRUPTED if self.number == signal.SIGINT else TERMINATED

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number
        if self._finished:  # also where the other thread knows of the signal: while it prints, the interpreter would end with 0
            os._exit(self.say())
        if not self._raised:
            self._raised = True
            raise Stopped

    def _watch(self) -> None:
        """Wait for the first signal, then for a reason to end the process at once."""
        first = self._next(None)
        if not self._finished:
            self._next(GRACE)
        self.number = self.number or first
        os._exit(self.say())

    def _next(self, seconds: float | None) -> int:
        """The next signal that ends the process; 0 if there is none within `seconds`."""
        end = None if seconds is None else time.monotonic() + seconds
        while select.select([self._pipe], [], [], end and max(0.0, end - time.monotonic()))[0]:
            number = os.read(self._pipe, 1)[0]
            if number in NUMBERS:
                return number
        return 0

    def _unraisable(self, error: Any) -> None:
        """End the process where `Stopped` was raised in a finaliser, which swallows it."""
        if issubclass(error.exc_type, Stopped):
            os.write(self._report, bytes([self.number]))
        else:
            self._other_unraisable(error)
