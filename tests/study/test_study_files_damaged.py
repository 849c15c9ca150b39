"""R3 for study files: cut at any byte, a file is a valid study or one line; and they are read as bytes, by the reader itself."""

import pytest

from ablate.records.errors import InputError
from ablate.study.request import read_study
from bench.chaos.tiny_study import STUDY


def test_a_study_file_cut_anywhere_is_a_study_or_one_line(tmp_path):
    whole = f"# \u00e9tude {STUDY.replace('{task}', 'my.py')}".encode()
    file, valid, messages = tmp_path / "x.toml", 0, []
    for end in range(len(whole) + 1):
        file.write_bytes(whole[:end])
        try:
            study, _, text = read_study(file)
        except InputError as error:
            messages.append(str(error))
            continue
        assert text.encode() == whole[:end]
        assert study.task == ("my.py:task" if "task =" in text else "digits")
        valid += 1
    assert valid > 20
    assert messages
    assert not any("\n" in line for line in messages)


def test_bytes_that_are_no_utf_8_are_one_line(tmp_path):
    (tmp_path / "x.toml").write_bytes(STUDY.encode() + b"# \xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        read_study(tmp_path / "x.toml")
