"""Another study under a ledger's name: the message says what to type, and typing it works."""

import pytest
from study_samples import TABULAR

from ablate.records.errors import InputError
from ablate.records.study import default
from ablate.study.request import Options, find
from ablate.study.resume import session_of
from ablate.study.study_diff import difference, suggested_command


def toml(**changes) -> str:
    from dataclasses import replace

    return replace(default("digits"), **changes).to_toml()


ADAMW = {"baseline": {"optimizer": {"name": "adamw", "lr": "lr-find"}, "cosine": True}}
AT_A_RATE = {"baseline": {"optimizer": {"name": "adamw", "lr": 0.1}}}


@pytest.mark.parametrize(
    ("then", "now", "says"),
    [
        ({}, {"epochs": 5}, "leave out --epochs"),
        ({"epochs": 7}, {"epochs": 5}, "type --epochs 7"),
        ({"epochs": 7}, {}, "type --epochs 7"),
        ({"seed": 3, "epochs": 2}, {"seed": 4, "epochs": 1}, "type --epochs 2 and type --seed 3"),
        ({}, {"metric": "validation/loss"}, "undo the change"),
        (ADAMW, {}, "type --optimizer adamw"),
        ({}, ADAMW, "type --optimizer momentum"),
        ({}, {**ADAMW, "seed": 3}, "undo the change"),
        (AT_A_RATE, {"baseline": {"optimizer": {"name": "sgd", "lr": 0.1}}}, "undo the change"),
        ({}, {"task": "wine"}, "--name"),
    ],
)
def test_what_to_type(then, now, says):
    command = suggested_command(toml(**then), toml(**now))
    assert says in command
    assert "--studies" in command


def test_equal_files_do_not_differ():
    assert difference(toml(), toml()) == "another file"
    assert difference(toml(), toml(epochs=5)) == "epochs was not set and is now 5"


def test_typing_it_opens_the_ledger_again(tmp_path, monkeypatch):
    from dataclasses import replace

    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(TABULAR)
    options = Options(device="cpu", executor="inline")
    opened = find("my.py:task", options)
    with session_of(opened, options):
        pass
    shorter = replace(opened, study=replace(opened.study, epochs=1))
    with pytest.raises(InputError, match="to continue where it stopped, leave out --epochs"), session_of(shorter, options):  # fmt: skip
        pass
    with session_of(opened, options) as session:
        assert session.epochs == 2
