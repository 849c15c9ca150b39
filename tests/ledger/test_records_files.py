"""Files appear whole or not at all; names stay in their folder."""

from __future__ import annotations

import errno
import os
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.records.errors import InputError
from ablate.records.files import write_bytes, write_parts, write_text
from ablate.records.names import check_name

CALLS = ("open", "write", "fsync", "replace", "close", "mkdir")


class FailAt:
    """Counts the calls of some functions of `os` and fails the n-th."""

    def __init__(self, patch: pytest.MonkeyPatch, failing: int, error: int) -> None:
        self.seen: list[str] = []
        for name in CALLS:
            patch.setattr(os, name, self._wrapped(name, getattr(os, name), failing, error))

    def _wrapped(self, name: str, real: Any, failing: int, error: int) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self.seen.append(name)
            if len(self.seen) == failing:
                if name == "close":
                    real(*arguments)
                raise OSError(error, os.strerror(error))
            if name == "write":  # a kernel may take less than it is given
                return real(arguments[0], bytes(arguments[1])[: 1 + len(arguments[1]) // 2])
            return real(*arguments, **keywords)

        return call


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("old", [None, b"what was there before"])
def test_the_nth_call_fails(tmp_path: Path, error: int, old: bytes | None):
    path, new = tmp_path / "report.html", b"new " * 200
    failures = 0
    for failing in range(1, 100):
        if old is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(old)
        with pytest.MonkeyPatch.context() as patch:
            calls = FailAt(patch, failing, error)
            try:
                write_bytes(path, new)
                line = None
            except InputError as failure:
                line = str(failure)
        there = path.read_bytes() if path.exists() else None
        assert {item.name for item in tmp_path.iterdir()} <= {"report.html"}
        if line is None:
            assert there == new
            if len(calls.seen) < failing:
                break
            continue  # the folder was there: that it could not be made does not matter
        failures += 1
        assert "\n" not in line
        assert str(path) in line
        assert os.strerror(error) in line
        renamed = "replace" in calls.seen[:-1]
        assert there == (new if renamed else old)
    assert failures > 8


def test_text_is_utf_8_with_its_own_line_ends(tmp_path: Path):
    write_text(tmp_path / "new" / "folder" / "a.txt", "é\r\nb\n\udc80")
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == b"\xc3\xa9\r\nb\n\\udc80"
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 1


def test_permissions_follow_the_umask(tmp_path: Path):
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_link_at_the_target_is_replaced_not_followed(tmp_path: Path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "a").symlink_to(tmp_path / "victim")
    write_text(tmp_path / "a", "new")
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "a").is_symlink()


def test_targets_that_cannot_be(tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for name, says in (
        ("file/a", "has the name of that folder"),
        ("file/a/b", "not a folder"),
        ("folder", "folder of that name exists"),
        ("x" * 300, "shorter name"),
    ):
        with pytest.raises(InputError, match=says):
            write_text(tmp_path / name, "text")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "folder"]


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a", "text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["digits", "a", "My-Study_2", "v1.2", "x" * 64, "console", "0"])
def test_names_that_are_fine(name: str):
    assert check_name(name) == name


HOSTILE = [
    "", ".", "..", "../a", "a/b", "/etc/passwd", "a\\b", "C:a", "~", "~root", "-rf", "--help", ".hidden", "a..b", "a.",
    "a b", "a\n", "a\x00", "é", "ａ", "$HOME", "`id`", "%2e%2e", "x" * 65, "con", "NUL", "nul.db", "COM1", "lpt9.txt",
    "a\u202eb", "*", "?", "a|b", "<a>", '"', "'", " a", "a ",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_are_refused(name: str):
    with pytest.raises(InputError) as caught:
        check_name(name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@settings(deadline=None)  # no wall-time limit on a loaded machine
@given(st.text() | st.text(string.ascii_letters + "./\\-_", max_size=8))
def test_an_accepted_name_is_one_step_below_its_folder(name: str):
    try:
        check_name(name)
    except InputError:
        return
    folder = Path("/studies")
    path = Path(os.path.normpath(folder / f"{name}.db"))
    assert path.parent == folder
    assert path.stem == name
    assert name.isascii()
    assert name.isprintable()


def test_a_file_of_parts_is_whole_or_not_there(tmp_path: Path):
    path = tmp_path / "a.csv"
    write_parts(path, (f"{number}\n".encode() for number in range(3)))
    assert path.read_bytes() == b"0\n1\n2\n"

    def broken():
        yield b"new"
        raise ValueError("the rows end here")

    with pytest.raises(ValueError, match="the rows end here"):
        write_parts(path, broken())
    assert path.read_bytes() == b"0\n1\n2\n"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_where_there_are_no_links_a_ledger_is_copied_whole_or_not_at_all(tmp_path, monkeypatch):
    from ablate.records import files
    from ablate.study.aside import link

    def no_links(*_: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(files, "COPIED", 100)
    (tmp_path / "a.db").write_bytes(bytes(range(256)) * 3)
    link(tmp_path / "a.db", tmp_path / "b.db")
    assert (tmp_path / "b.db").read_bytes() == (tmp_path / "a.db").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        FailAt(patch, 6, errno.ENOSPC)  # a write in the middle
        with pytest.raises(InputError, match=r"cannot write .*c\.db"):
            link(tmp_path / "a.db", tmp_path / "c.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "b.db"]
