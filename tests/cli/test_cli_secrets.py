"""No command shows a password of an address (S4), wherever in its command line the address stands."""

from itertools import cycle, product

import pytest
import typer.main

from ablate.cli.commands import COMMANDS, app, run

PASSWORDS = ("s3cretword", "p/s3cretword", "s3cret%20word", "a@s3cretword#")
ADDRESSES = (
    "postgresql://me:{}@127.0.0.1:1/db", "https://me:{}@127.0.0.1:1/x.csv", "tcp://me:{}@127.0.0.1:1", "dask:tcp://me:{}@127.0.0.1:1",
    "me:{}@host/x.csv", "https://h/x.csv?token={}",
)  # fmt: skip


def places() -> list[tuple[str, ...]]:
    """The command lines: each argument and each option of each command with `{}` as its value.

    The task of the others is unknown, so that no command runs what it is asked to.
    """
    lines = []
    for name, command in typer.main.get_command(app).commands.items():
        taken = 0
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                lines.append((name, *["no_task"] * taken, "{}"))
                taken += 1
            elif not parameter.is_flag and parameter.opts != ["--help"]:
                task = () if name in ("tricks", "doctor") else ("no_task",)
                lines.append((name, *task, f"{max(parameter.opts, key=len)}={{}}"))
    return lines


LINES = places()
KNOWN = [("study", "digits", f"{option}={{}}") for option in ("--executor", "--resume-from", "--tricks", "--optimizer", "--metric")]  # fmt: skip
KNOWN += [("rank", "--table={}"), ("rank", "--optuna={}"), ("rank", "--table={}", "--metric={}"), ("claims", "--claims={}"), ("plan", "{}")]  # fmt: skip


def shown(line, address: str, password: str, capfd) -> str:
    code, told = run([word.format(address.format(password)) for word in line])
    assert code in (0, 1, 2)
    return "".join(capfd.readouterr()) + told


def test_no_option_of_a_command_shows_a_password(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    passwords = cycle(PASSWORDS)
    for line, address in product(LINES, ADDRESSES):
        text = shown(line, address, next(passwords), capfd)
        assert "s3cret" not in text, (line, text)


@pytest.mark.parametrize("line", KNOWN, ids=" ".join)
def test_no_password_is_shown_where_an_address_is_read(line, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for address, password in product(ADDRESSES, PASSWORDS):
        text = shown(line, address, password, capfd)
        assert "s3cret" not in text, (address, password, text)
        assert text


def test_every_command_is_tried():
    assert {line[0] for line in LINES} == COMMANDS.keys()
