"""Files appear whole or not at all: temporary file → fsync → replace → fsync of the folder.

The temporary file is a hidden sibling (`.NAME.PID.tmp`), because only a rename inside one file system is
atomic. After a failure it is removed and the old file is as it was; after `kill -9` it may stay behind,
under a name that nothing reads. A link at the target is replaced, not followed.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from ablate.records.errors import InputError

_HINTS = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f) or choose another folder",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.EEXIST: "a file stands where a folder should",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "a folder of that name is in the way",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def cache_folder() -> Path:
    """Of what can be made again: `ABLATE_CACHE`, else `XDG_CACHE_HOME/ablate`, else `~/.cache/ablate`."""
    given = os.environ.get("ABLATE_CACHE")
    return (
        Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ablate"
    )


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` at `path`, atomically and durably; missing parent folders are made.

    Raises InputError in one line where the folder cannot be written to, the disk is full and the like;
    what stood at `path` is then untouched and no partial file is left.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_through(temporary, data)
            os.replace(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
        fsync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """`write_bytes` of `text` as UTF-8, line ends as they are.

    Half a surrogate pair (from a file name that is not UTF-8) is written as its escape, `\\udc80`.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def cannot_write(path: str | os.PathLike[str], error: OSError) -> InputError:
    """The one line for an OSError met while writing `path`: the system's reason and what to do."""
    reason = error.strerror or type(error).__name__
    return InputError(f"cannot write {path}: {reason}", hint=_HINTS.get(error.errno or 0, ""))


def fsync_folder(folder: Path) -> None:
    """Make a rename or a new name in `folder` durable. Windows has no such call: its renames are journalled."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_through(path: Path, data: bytes) -> None:
    """A new file with `data`, on the disk when this returns. Permissions are what the umask leaves of 0666."""
    with suppress(FileNotFoundError):
        path.unlink()  # left by a killed process that had this process's number
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
