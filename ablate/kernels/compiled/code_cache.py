"""A disk cache of machine code: loading a function takes a twentieth of the time of compiling it.

One file for each function in the user's cache folder, named by a hash of everything that the code depends on: the function and its arguments, the
source of this package, llvmlite's version, the processor. Because the file is executed, it is read only if nobody but this user
could have written it and its checksum is correct; otherwise, and where the folder cannot be written, the function is compiled.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import llvmlite

from ablate.kernels.compiled import jit
from ablate.kernels.compiled.jit import Function, load_object
from ablate.records.files import cache_folder

P = ParamSpec("P")
Made = TypeVar("Made", Function, tuple[Function, int])
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def disk_cached(make: Callable[P, Made]) -> Callable[P, Made]:
    """Cache the result of `make` in the process and on disk: a compiled function, or one and the number of floats of workspace it needs."""

    @cache
    @wraps(make)
    def cached(*arguments: P.args, **named: P.kwargs) -> Made:
        name = _name(make, arguments, named)
        before = _read(name)
        if before is not None:
            function, workspace = before
            return cast(Made, function if workspace is None else (function, workspace))
        made = make(*arguments, **named)
        _write(name, made)
        return made

    return cast(Callable[P, Made], cached)


def _name(make: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> str:
    about = [
        make.__module__,
        make.__qualname__,
        repr(arguments),
        sorted(named.items()),
        jit.simd_width(),
        *_environment(),
    ]
    return hashlib.sha256(json.dumps(about, default=repr).encode()).hexdigest()[:32]


@cache
def _environment() -> tuple[str, ...]:
    text = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        text.update(file.read_bytes())
    features = ",".join(sorted(name for name, there in jit.target_cpu().features.items() if there))
    return (
        text.hexdigest(),
        llvmlite.__version__,
        str(jit.target_cpu().target.triple),
        jit.target_cpu().name,
        features,
    )


@cache
def _folder() -> Path | None:
    """The cache folder; None where others may write to it, or file owners are unknown."""
    folder = cache_folder() / "code"
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_ours(folder.lstat()):
            return folder
    return None


def _is_ours(about: os.stat_result) -> bool:
    return hasattr(os, "getuid") and about.st_uid == os.getuid() and not about.st_mode & OTHERS_WRITE


def _read(name: str) -> tuple[Function, int | None] | None:
    """The cached function `name` and its workspace; None if there is no file that can be trusted."""
    if (folder := _folder()) is None:
        return None
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not _is_ours(os.fstat(descriptor)):
            return None
        head, _, code = file.read().partition(b"\n")
    try:
        about = json.loads(head)
        if about["sha256"] != hashlib.sha256(code).hexdigest():
            return None
        return load_object(code, int(about["pointers"]), int(about["counts"])), about["workspace"]
    except (ValueError, KeyError, TypeError):
        return None


def _write(name: str, made: Function | tuple[Function, int]) -> None:
    """Write atomically. Without fsync: a file torn by a crash fails its checksum."""
    if (folder := _folder()) is None:
        return
    function, workspace = made if isinstance(made, tuple) else (made, None)
    about = {"pointers": function.pointers, "counts": function.counts, "workspace": workspace}
    head = json.dumps({**about, "sha256": hashlib.sha256(function.code).hexdigest()}).encode()
    temporary = folder / f".{name}.{os.getpid()}"
    with suppress(OSError):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(head + b"\n" + function.code)
        os.replace(temporary, folder / name)
