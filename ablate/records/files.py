"""Reading the user's files, and atomic writes: temporary file → fsync → rename → fsync of the folder.

The temporary file is a hidden sibling (`.NAME.PID.tmp`), because a rename is atomic only within one file
system. After a failure it is removed and the old file is unchanged; after `kill -9` it may be left behind,
under a name that nothing reads. A symbolic link at the target is replaced, not followed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ablate.records.errors import InputError

COPIED = 1 << 24
"""Bytes that are copied at once."""
_HINTS = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f) or choose another folder",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.EEXIST: "a file has the name of that folder",
    errno.ENOTDIR: "part of the path is a file, not a folder",
    errno.EISDIR: "a folder of that name exists",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def read_input(path: Path) -> bytes:
    """The content of a file that the user named. Raises InputError."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"there is no file {path}", hint="give its path relative to the current folder"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error


def cache_folder() -> Path:
    """The folder of reproducible files: `ABLATE_CACHE`, else `XDG_CACHE_HOME/ablate`, else `~/.cache/ablate`."""
    folder = os.environ.get("ABLATE_CACHE")
    return (
        Path(folder)
        if folder
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ablate"
    )


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` atomically and durably; missing parent folders are created.

    Raises InputError if the folder is not writable, the disk is full and so on; the previous content of
    `path` is then unchanged and no partial file is left.
    """
    write_parts(path, [data])


def write_parts(path: str | os.PathLike[str], parts: Iterable[bytes]) -> None:
    """`write_bytes` of `parts` one after another, so that a large file is never in memory as a whole."""
    path = Path(path)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_through(temporary, parts)
            os.replace(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
        fsync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def copy_file(path: Path, other: Path) -> None:
    """`write_bytes` to `other` of what `path` holds. Raises InputError, OSError if `path` cannot be read."""
    with path.open("rb") as file:
        write_parts(other, iter(lambda: file.read(COPIED), b""))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """`write_bytes` of `text` as UTF-8, without newline translation.

    A lone surrogate (from a file name that is not UTF-8) is written as its escape, `\\udc80`.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def cannot_write(path: str | os.PathLike[str], error: OSError) -> InputError:
    """The error for an OSError while writing `path`: the system's reason and what to do."""
    reason = error.strerror or type(error).__name__
    return InputError(f"cannot write {path}: {reason}", hint=_HINTS.get(error.errno or 0, ""))


def fsync_folder(folder: Path) -> None:
    """Make a rename or a new file in `folder` durable. Windows has no such call; its renames are journalled."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_through(path: Path, parts: Iterable[bytes]) -> None:
    """A new file with `parts`, on disk when this returns. Permissions are 0666 less the umask."""
    with suppress(FileNotFoundError):
        path.unlink()  # left by a killed process with the same process id
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        for part in parts:
            remaining = memoryview(part)
            while remaining:
                remaining = remaining[os.write(descriptor, remaining) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
