"""One writer per ledger: a lock file next to it, locked by `flock`, with the id of the process that holds it.

The kernel releases the lock when the process dies for any reason, so there are no stale locks. The file itself is
removed on release; a process that takes the lock therefore checks that the file it locked is
still the one at the path. POSIX only (Linux, macOS, WSL): Windows has no `flock`.

A forked child shares the parent's lock and would keep it if the parent were killed, so a child closes
its copy at once. The command line is not recorded: it may contain passwords.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ablate.records.errors import AblateError
from ablate.records.files import cannot_write

_descriptors: set[int] = set()


class Lock:
    """Held from `Lock(path)` to `release()`. `path` is the ledger's; the lock file is `NAME.lock` next to it.

    Raises AblateError that names the holder if another process has the lock; InputError if the lock file
    cannot be created.
    """

    def __init__(self, path: Path) -> None:
        real = Path(os.path.realpath(path))  # two links to one ledger must use the same lock
        self.path = real.with_suffix(".lock") if real.suffix == ".db" else real.with_name(real.name + ".lock")
        try:
            self._descriptor = self._take(path)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        _descriptors.add(self._descriptor)

    def release(self) -> None:
        """Release the lock. A second call has no effect."""
        if self._descriptor in _descriptors:
            _descriptors.discard(self._descriptor)
            with suppress(
                OSError
            ):  # a folder that became read-only: closing the descriptor releases the lock
                self.path.unlink()
            os.close(self._descriptor)
            self._descriptor = -1  # the number may soon belong to another file

    def _take(self, ledger: Path) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _same_file(descriptor, self.path):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, _own_record(), 0)
                    return descriptor
                os.close(descriptor)  # the last holder removed the file between our open and our lock
            except BlockingIOError:
                holder = _read_holder(descriptor)
                os.close(descriptor)
                raise AblateError(
                    f"{ledger} is in use by {holder}",
                    hint="wait until it ends, or stop it; only one process may write",
                ) from None
            except BaseException:
                os.close(descriptor)
                raise


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _own_record() -> bytes:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode() + b"\n"


def _read_holder(descriptor: int) -> str:
    """A description of the holder. It writes its record just after locking, so wait a moment for it."""
    for _ in range(20):
        with suppress(ValueError, TypeError, KeyError):
            record = json.loads(os.pread(descriptor, 1000, 0))
            host = "".join(letter for letter in str(record["host"])[:80] if letter.isprintable())
            since = datetime.fromisoformat(record["since"]).isoformat(sep=" ", timespec="seconds")
            return f"process {int(record['pid'])} on {host} (since {since})"
        time.sleep(0.01)
    return "another process"


def _close_in_child() -> None:
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()


os.register_at_fork(after_in_child=_close_in_child)
