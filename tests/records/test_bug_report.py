"""The file to attach to a bug report has what explains an error, and no secret."""

from importlib.metadata import version
from pathlib import Path

import pytest

from ablate.cli import commands
from ablate.cli.commands import unexpected
from ablate.executors.job_error import JobError
from ablate.records.bug_report import bug_report, study_bug_report
from ablate.records.errors import AblateError
from ablate.study.failures import Failures
from ablate.study.request import Options

ADDRESSES = (
    "postgresql://me:s3cretword@host/db", "tls://me:s3cretword@scheduler:8786", "sqlite:///x?password=s3cretword", "--api-key s3cretword",
    "token='s3cretword'",
)  # fmt: skip


def test_versions_command_study_file_and_traceback_but_no_password(tmp_path: Path):
    file = tmp_path / "my.toml"
    file.write_text('task = "digits"\n')
    address = "postgresql://me:s3cretword@host/db?password=hiddenword"
    text = bug_report(
        f"Traceback of {address}", ["study", str(file), "--storage", address, f"--to={address}"]
    )
    assert f"torch {version('torch')}" in text
    assert 'task = "digits"' in text
    assert "Traceback of" in text
    assert "s3cretword" not in text
    assert "hiddenword" not in text
    assert "cannot be read" in bug_report("", ["study", str(tmp_path / "absent.toml")])


def test_an_error_of_ablates_own_names_the_file():
    try:
        raise RuntimeError("inner")
    except RuntimeError as error:
        line = unexpected(error, ["study", "digits"])
    file = Path(line.partition("traceback: ")[2].partition(",")[0])
    text = file.read_text()
    file.unlink()
    assert "command: ablate study digits" in text
    assert "RuntimeError: inner" in text


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_password_in_what_is_written_of_an_error(address, tmp_path, monkeypatch, capsys):
    """S4: wherever it comes from, and whoever's code raised it."""
    trace = f'Traceback\n  engine = connect("{address}")\n'
    assert "s3cretword" not in study_bug_report(
        trace, f"ablate study x --executor {address}", f"storage='{address}'"
    )
    assert "s3cretword" not in bug_report(trace, ["rank", "--table", "x"])
    for internal in (True, False):
        failures = Failures(tmp_path / "traceback.txt", lambda: {"command": address, "file": address})
        lines = []
        for _ in range(3):
            try:
                lines.append(
                    failures.result(JobError(f"ValueError: {address}", "x.py:1", internal, trace)).note
                )
            except AblateError as error:
                lines += [str(error), *error.__notes__]
        assert lines
        assert not any("s3cretword" in line for line in lines)
        assert "s3cretword" not in (tmp_path / "traceback.txt").read_text()
    monkeypatch.setattr("sys.argv", ["ablate", "study", "x", "--executor", *address.split(" ")])
    assert "s3cretword" not in Options().command
    assert "ablate study x --executor" in Options().command

    def fails(*_, **__):
        raise RuntimeError(f"cannot connect to {address}")

    monkeypatch.setattr(commands, "app", fails)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for words in (["study", "x"], ["--debug", "study", "x"]):
        code, line = commands.run(words)
        assert code == 1
        said = line + "".join(capsys.readouterr())
        assert "RuntimeError: cannot connect to" in said
        assert "s3cretword" not in said
    assert not any("s3cretword" in file.read_text() for file in tmp_path.glob("ablate-*"))


def unexpected_line():
    try:
        raise RuntimeError("inner")
    except RuntimeError as error:
        return unexpected(error, ["study", "digits"])


def test_without_a_folder_for_temporary_files_the_line_is_printed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    line = unexpected_line()
    assert "RuntimeError: inner" in line
    assert line.endswith("; no folder for temporary files can be written: use --debug")


def test_a_full_disk_leaves_no_part_of_a_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def full(*_):
        raise OSError(28, "No space left on device")

    real = commands.NamedTemporaryFile

    def limited(*arguments, **named):
        file = real(*arguments, **named)
        file.write = full
        return file

    monkeypatch.setattr(commands, "NamedTemporaryFile", limited)
    assert "RuntimeError: inner" in unexpected_line()
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_that_cannot_be_written_does_not_hide_the_error(tmp_path):
    (tmp_path / "file").touch()
    failures = Failures(tmp_path / "file" / "traceback.txt", dict)
    with pytest.raises(
        AblateError, match=r"an error in ablate itself: KeyError: 'x' .*cannot write .*: run it with --debug"
    ):
        failures.result(JobError("KeyError: 'x'", "ablate/x.py:1", True, "Traceback"))
    assert (
        failures.result(JobError("KeyError: 'x'", "x.py:1", False, "Traceback")).note
        == "KeyError: 'x' (x.py:1)"
    )
