"""An exception raised by a job, with the location of the code that raised it."""

from __future__ import annotations

import site
import sys
import sysconfig
import traceback
from pathlib import Path

import ablate

PACKAGE = Path(ablate.__file__).parent
PACKAGE_FOLDERS = ("site-packages", "dist-packages")


class JobError(Exception):
    """An exception in a job's training. It can be pickled, and so comes back from a worker.

    message: type and text of the exception, in one line. location: `my_task.py:7`, the innermost line that is neither
    Python's nor another package's. is_internal: that line is in ablate. trace: the traceback as text.
    """

    def __init__(self, message: str, location: str, is_internal: bool, trace: str) -> None:
        super().__init__(message, location, is_internal, trace)
        self.message, self.location, self.is_internal, self.trace = message, location, is_internal, trace

    def __str__(self) -> str:
        return f"{self.message} ({self.location})"

    @classmethod
    def of(cls, error: BaseException) -> JobError:
        """The error with the last of its lines that is the user's, else of ablate's."""
        text = " ".join(_text(error).split())[:200]
        message = f"{type(error).__name__}: {text}" if text else type(error).__name__
        location, is_internal = error_location(error)
        return cls(message, location, is_internal, "".join(traceback.format_exception(error)))


def _text(error: BaseException) -> str:
    """What the error says; an exception class of the user's may fail to say anything."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the error that is told is the one that was raised first
        return ""


def library_folders() -> tuple[str, ...]:
    """Folders of Python and of installed packages: this environment's, the user's, and those of other environments on the path."""
    installed = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed.append(site.getusersitepackages())
    installed += [path for path in sys.path if Path(path).name in PACKAGE_FOLDERS]
    return tuple({str(Path(path).resolve()) for path in installed})


def error_location(error: BaseException) -> tuple[str, bool]:
    """(`file:line`, whether the file is ablate's) of the innermost frame outside of libraries."""
    libraries = library_folders()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if not file.is_file():
            continue  # code that was generated, by torch.fx for example
        if file.resolve().is_relative_to(PACKAGE):
            return f"ablate/{file.resolve().relative_to(PACKAGE).as_posix()}:{frame.lineno}", True
        if not str(file.resolve()).startswith(libraries):
            return f"{file.name}:{frame.lineno}", False
    return "ablate", True
