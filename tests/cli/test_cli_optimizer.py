"""The baseline's optimizer is the user's own: by name, or by its class in torch."""

from __future__ import annotations

import tomllib

import pytest
import torch
from cli_samples import INLINE, TASK, ablate

import ablate as api
from ablate.ledger.store import Ledger


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text(TASK)
    return tmp_path


@pytest.mark.parametrize(("given", "name"), [("adamw", "adamw"), ("torch.optim.Adamax", "torch_adamax")])
def test_the_baseline_has_the_optimizer_that_is_named(capsys, here, given, name):
    words = ("study", "tiny.py:task", "--stages", "report")
    assert ablate(capsys, *words, "--optimizer", given, *INLINE).code == 0
    study = tomllib.loads(Ledger.facts_of(here / "studies" / "tiny.db")["study"]["file"])
    assert study["baseline"] == {"optimizer": {"name": name, "lr": "lr-find"}, "cosine": True}
    other = ablate(capsys, *words, *INLINE)
    assert other.code == 2
    assert f"baseline.optimizer.name was '{name}' and is now 'momentum'; " in other.err
    assert f"to continue where it stopped, type --optimizer {given}; " in other.err
    for first, then in ((), ("--optimizer", "momentum")), (("--optimizer", "momentum"), ()):
        for more in (first, then):
            assert ablate(capsys, *words, "--name", f"n{len(first)}", *more, *INLINE).code == 0


def test_an_unknown_optimizer_and_one_that_excludes_the_schedule_are_refused(capsys, here):
    words = ("study", "tiny.py:task", "--stages", "report")
    said = ablate(capsys, *words, "--optimizer", "adamww", *INLINE)
    assert said.err == "ablate: unknown optimizer 'adamww'; did you mean 'adamw'?\n"
    said = ablate(capsys, *words, "--optimizer", "schedule_free_adamw", *INLINE)
    assert said.code == 2
    assert "cannot be combined with 'cosine'; write a baseline without it in a study file" in said.err
    assert not (here / "studies").exists()


def test_the_same_from_python(here):
    with pytest.raises(api.InputError, match="did you mean 'adamw'"):
        api.study("tiny.py:task", optimizer="adamww", stages="report")
    with pytest.raises(api.InputError, match='write optimizer="adamw", or give a class'):
        api.study("tiny.py:task", optimizer=3, stages="report")
    for given, name in (("lion", "lion"), (torch.optim.Adamax, "torch_adamax")):
        study = api.study(
            "tiny.py:task", optimizer=given, name=name, stages="report", device="cpu", quiet=True
        )
        assert study.opened is not None
        assert study.opened.study.baseline == {"optimizer": {"name": name, "lr": "lr-find"}, "cosine": True}
