"""The file to attach to a bug report has what explains an error, and no secret."""

from importlib.metadata import version
from pathlib import Path

from ablate.cli.commands import unexpected
from ablate.records.bug_report import bug_report


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
